"""What a sweep says of itself, from what its jobs left on disk."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from hymenoptera.errors import ConfigError
from hymenoptera.reports.jobs import lock_of, read_manifest
from hymenoptera.reports.record import accuracy_summary, read_summary, write_summary
from hymenoptera.reports.sweep_files import show_sweep

Make = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def learning_rates(*shares: float | str | None) -> list[tuple[list[str], float | str | None]]:
    return [([f"optimizer.lr={10.0**-n:g}"], share) for n, share in enumerate(shares)]


def change(run: Path, **changes: object) -> None:
    summary = read_summary(run)
    for name, value in changes.items():
        setattr(summary, name, value)
    write_summary(run, summary)


def test_two_seeds_that_are_clearly_below_are_said_to_be_worse(
    make_sweep: Make, capsys: Capture
) -> None:
    """It was "34.8 to 99.2 %" and "same as best"."""
    jobs = [("1e-3", 0, 0.961), ("1e-3", 1, 0.961), ("1e-5", 0, 0.85), ("1e-5", 1, 0.928)]
    jobs = [([f"optimizer.lr={lr}", f"seed={seed}"], share) for lr, seed, share in jobs]
    sweep = make_sweep(jobs, count=153)
    found = show_sweep(sweep)
    best, other = found.configurations
    assert found.best is best and best.comparison is None
    assert other.interval[1] - other.interval[0] < 0.12
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.lstrip().startswith("1e-5"))
    assert "88.9 ± 5.5 %" in row and "-7.2 (-1" in row and "worse, p = 0.0" in row
    assert "2 points of scatter from seed to seed are allowed for" in out
    assert "selection  the best of 2" in out
    content = json.loads((sweep / "sweep.json").read_text())
    assert content["configurations"][1]["difference"] == pytest.approx(-11 / 153)
    assert content["configurations"][1]["p"] < 0.05


def test_jobs_of_every_kind_have_a_row(make_sweep: Make, capsys: Capture) -> None:
    sweep = make_sweep(learning_rates(0.95, 0.5, "no <room>\nmore", None))
    (sweep / "3").mkdir()  # begun, and killed
    change(sweep / "1", pruned_after=2)
    show_sweep(sweep)
    assert "failed: no <room>" in capsys.readouterr().out
    content = json.loads((sweep / "sweep.json").read_text())
    assert [one["verdict"] for one in content["configurations"]] == [
        "best",
        "worse, p < 0.001, stopped after epoch 2",
        "failed: no <room>",
        "failed: killed: it ended without a record",
    ]
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer.lr"] for row in rows] == ["1", "0.1", "0.01", "0.001"]
    assert [row["state"] for row in rows] == ["done", "done", "failed", "failed"]
    assert (rows[1]["accuracy"], rows[2]["reason"]) == ("0.5", "no <room>")
    assert content["states"]["failed"] == 2
    assert content["jobs"][0]["curve"][1]["val/accuracy"] == 0.95
    assert "<room>" not in (sweep / "sweep.html").read_text()
    with pytest.raises(ConfigError, match="not a sweep's folder"):
        show_sweep(sweep.parent)


def test_a_sweep_without_a_result_has_a_table(make_sweep: Make, capsys: Capture) -> None:
    sweep = make_sweep(learning_rates("no", None))
    assert show_sweep(sweep).winner is None
    assert "to do" in capsys.readouterr().out


def test_the_commands_have_all_that_the_job_needed(make_sweep: Make, capsys: Capture) -> None:
    sweep = make_sweep(learning_rates(0.95, 0.6))
    command = "python train.py --config-dir '/my configs' optimizer.lr=1 ++trainer.max_epochs=3"
    change(sweep / "0", command=command)
    show_sweep(sweep)
    out = capsys.readouterr().out
    assert f"again      {command}\n" in out
    longer = shlex.join([*shlex.split(command)[:-1], "trainer.max_epochs=6"])
    assert f"longer     {longer}\n" in out


def test_one_of_which_a_repeat_failed_is_not_the_best(make_sweep: Make) -> None:
    jobs = [(["a=1", "seed=1"], 0.9), (["a=1", "seed=2"], 0.9), (["a=2", "seed=1"], 1.0)]
    sweep = make_sweep([*jobs, (["a=2", "seed=2"], "no room")], swept=("a", "seed"))
    found = show_sweep(sweep)
    assert found.best is found.configurations[0]
    assert found.configurations[1].comparison.p == 1
    assert found.winner.job.number == 0


def test_folds_are_repeats_over_other_images(make_sweep: Make) -> None:
    jobs = [
        ([f"a={a}", f"data.fold={f}"], share) for a, share in ((1, 0.95), (2, 0.5)) for f in (0, 1)
    ]
    sweep = make_sweep(jobs, swept=("a", "data.fold"))
    for number in range(4):  # a fold has its own images
        path = sweep / str(number) / "predictions.csv"
        path.write_text(path.read_text().replace("val/", f"fold{number % 2}/"))
    best, other = show_sweep(sweep).configurations
    assert best.count == 80
    assert other.comparison.p < 0.001


def test_the_test_set_is_said_to_be_used_as_often_as_it_was(make_sweep: Make) -> None:
    """A sweep that is resumed may have another winner, which is evaluated too."""
    sweep = make_sweep(learning_rates(0.9, 0.95))

    def note() -> str:
        show_sweep(sweep)
        return json.loads((sweep / "sweep.json").read_text())["notes"].partition("test set   ")[2]

    def evaluate(number: int, correct: int) -> None:
        probabilities = [(1, 0)] * correct + [(0, 1)] * (20 - correct)
        change(sweep / str(number), test=accuracy_summary([0] * 20, probabilities))

    assert note() == ""
    evaluate(0, 18)
    assert note() == "not evaluated by job 1, the best, and before by an earlier best (job 0)"
    evaluate(1, 17)
    assert note().startswith("85.0 % (17 of 20), 95 % interval ")
    assert note().endswith("; evaluated by job 1, and before by an earlier best (job 0)")
    change(sweep / "0", test=None)
    assert note().endswith("; evaluated by job 1 alone")


def test_rows_of_other_data_are_said_to_be_so(make_sweep: Make, capsys: Capture) -> None:
    sweep = make_sweep(learning_rates(0.95, 0.5, 0.5))
    show_sweep(sweep)
    assert "not all jobs had the same images" not in capsys.readouterr().out
    summary = read_summary(sweep / "2")
    change(sweep / "2", data=summary.data | {"manifest_hash": "c" * 64})
    path = sweep / "2" / "predictions.csv"  # of the same paths, but other labels
    head, *rows = (line.split(",") for line in path.read_text().splitlines())
    other = {"ants": "bees", "bees": "ants"}
    relabelled = [[row[0], other[row[1]], *row[2:]] for row in rows]
    path.write_text("\n".join(map(",".join, [head, *relabelled])) + "\n")
    found = show_sweep(sweep)
    assert [one.comparison is None for one in found.configurations] == [True, False, True]
    out = capsys.readouterr().out
    assert "not all jobs had the same images" in out and "not compared" in out


def test_states_are_read_again_unless_the_sweep_runs(make_sweep: Make) -> None:
    sweep = make_sweep(learning_rates(0.9, None))
    manifest = read_manifest(sweep)
    manifest.write(running=[manifest.jobs[1]])
    assert [job.state for job in read_manifest(sweep).jobs] == ["done", "to do"]
    with lock_of(sweep):
        assert [job.state for job in read_manifest(sweep).jobs] == ["done", "running"]
        assert [job.state for job in read_manifest(sweep, locked=True).jobs] == ["done", "to do"]


def test_networks_are_compared_by_size_and_time(make_sweep: Make, capsys: Capture) -> None:
    names = ("resnet18", "timm/vit_tiny_patch16_224")
    jobs = [
        ([f"model.backbone={name}"], share) for name, share in zip(names, (0.9, 0.8), strict=True)
    ]
    sweep = make_sweep([*jobs, (["model.backbone=squeezenet1_0"], "has no linear head")])
    measured = {"computed": 10, "cached": 0, "ms_per_image": 12.34}
    change(sweep / "0", model={"parameter_count": 11_200_000, "size_mb": 44.7}, features=measured)
    show_sweep(sweep)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert next(row for row in rows if row[:1] == ["resnet18"])[1:4] == ["11.2", "12.3", "44.7"]
    content = json.loads((sweep / "sweep.json").read_text())
    assert [one["ms_per_image"] for one in content["configurations"]] == [12.34, None, None]
    assert "failed: has no linear head" in content["configurations"][2]["verdict"]


def test_a_sweep_of_sizes_says_what_more_images_would_bring(
    make_sweep: Make, capsys: Capture
) -> None:
    shares = {0.25: 0.7, 0.5: 0.8, 1.0: 0.85}
    jobs = [
        ([f"data.train_fraction={size}", f"seed={seed}"], share)
        for size, share in shares.items()
        for seed in (1, 2)
    ]
    sweep = make_sweep(jobs, count=100)
    for number, (size, _) in enumerate(size for size in shares.items() for _ in range(2)):
        summary = read_summary(sweep / str(number))
        change(sweep / str(number), data=summary.data | {"train_count": int(200 * size)})
    show_sweep(sweep)
    assert "Twice as many images, 400, would bring +" in capsys.readouterr().out
    (curve,) = json.loads((sweep / "sweep.json").read_text())["learning_curves"]
    assert curve["sizes"] == [50, 100, 200]
    assert curve["accuracies"] == pytest.approx([0.7, 0.8, 0.85])
