"""What a sweep says of itself, from what its jobs left on disk."""

import json
from pathlib import Path

import pytest

from hymenoptera.results.jobs import Job, Manifest
from hymenoptera.results.records import judged, write_predictions, write_summary, write_test
from hymenoptera.results.sweep_files import show_sweep

COUNT = 60


def job_of(
    sweep: Path, number: int, wrong: int, *, label: str = "ant", manifest_hash: str = "a" * 64
) -> Path:
    """What job `number` leaves: so many of the pictures, all of one label, wrong."""
    folder = sweep / str(number)
    folder.mkdir(parents=True)
    classes = ["ant", "bee"]
    labels = [classes.index(label)] * COUNT
    shares = [(0.9, 0.1) if (n < wrong) == (label == "bee") else (0.1, 0.9) for n in range(COUNT)]
    names = [f"val/{n}.jpg" for n in range(COUNT)]
    write_predictions(folder, names, labels, shares, classes)
    best = {"epoch": 1, "checkpoint": "checkpoints/best.ckpt", **judged(labels, shares)}
    record = {"status": "completed", "epochs": 2, "best": best, "durations": {"total_s": 1.0}}
    write_summary(folder, {**record, "data": {"manifest_hash": manifest_hash}})
    return folder


def on_the_test_set(folder: Path, right: int) -> None:
    """Record that a run was judged there, on twenty pictures."""
    found = judged([0] * 20, [(1, 0)] * right + [(0, 1)] * (20 - right))
    write_test(folder, {"test_accuracy": found.pop("val_accuracy"), **found})


def manifest_of(sweep: Path, jobs: int) -> Manifest:
    """A sweep of so many rates."""
    sweep.mkdir()
    numbered = [Job(n, [f"optimizer.lr={10.0**-n:g}"], str(n)) for n in range(jobs)]
    manifest = Manifest(sweep, ["optimizer.lr"], "grid", "python train.py -m", {}, numbered)
    manifest.write()
    return manifest


def test_the_test_set_is_said_to_be_judged_as_often_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep that is gone on with may have another winner, which is judged too."""
    sweep = tmp_path / "s"
    manifest_of(sweep, 3)

    def says() -> tuple[str, str]:
        capsys.readouterr()
        show_sweep(sweep)
        best = json.loads((sweep / "sweep.json").read_text())["best"]
        told = best["test_says"]
        assert told is None or told in (sweep / "sweep.html").read_text()
        return told, capsys.readouterr().out

    first = job_of(sweep, 0, wrong=6)
    assert says()[0] is None
    on_the_test_set(first, 18)
    told, out = says()
    assert told.startswith("90.0 % (18 of 20), 95 % interval ")
    assert told.endswith("; judged once, by job 0")
    assert told in out
    second = job_of(sweep, 1, wrong=3)
    told, out = says()
    assert told == "not judged by job 1, the best; judged by an earlier best, job 0"
    assert told in out
    on_the_test_set(second, 17)
    told, out = says()
    assert "85.0 % (17 of 20)" in told
    assert "judged 2 times, by job 1 and by what was the best before, job 0" in told
    assert "no longer untouched" in told
    assert "once" not in told + out


def test_rows_of_other_data_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "s"
    manifest_of(sweep, 3)
    job_of(sweep, 0, wrong=3)
    job_of(sweep, 1, wrong=40)
    assert show_sweep(sweep).settings[1].verdict == "worse"
    assert "not all jobs had the same pictures" not in capsys.readouterr().out
    job_of(sweep, 2, wrong=40, label="bee", manifest_hash="b" * 64)
    found = show_sweep(sweep)
    # of the same paths, but they are no ants
    assert [setting.verdict for setting in found.settings] == ["best", "worse", "not compared"]
    assert "not all jobs had the same pictures" in capsys.readouterr().out
    assert json.loads((sweep / "sweep.json").read_text())["same_data"] is False
