"""The `hymenoptera` command on a finished run, as a user types it."""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import Ended
from hymenoptera.cli import evaluation
from hymenoptera.cli.application import app
from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import read_summary, write_summary

Command = Callable[..., Ended]


def test_predict_equals_the_record(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    """But for the temperature."""
    summary = json.loads((finished_run / "summary.json").read_text())
    temperature = summary["calibration"]["temperature"]
    ended = hymenoptera(
        *("predict", str(finished_run), str(images / "val"), "--format", "csv"),
        *("--top-k", "3", "--output", "rows.csv"),
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    table = csv.DictReader((finished_run / "predictions.csv").open())
    recorded = {row["path"]: row for row in table}
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert len(rows) == len(recorded) == 12
    for row in rows:
        expected = recorded[Path(row["path"]).relative_to(images).as_posix()]
        assert row["class_1"] == expected["predicted"]
        cooled = {c: float(expected[c]) ** (1 / temperature) for c in ("ash", "birch", "cedar")}
        for rank in "123":
            share = cooled[row[f"class_{rank}"]] / sum(cooled.values())
            assert float(row[f"probability_{rank}"]) == pytest.approx(share, abs=1e-4)


def test_evaluate_equals_the_record(hymenoptera: Command, finished_run: Path) -> None:
    ended = hymenoptera("evaluate", str(finished_run), "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    best = json.loads((finished_run / "summary.json").read_text())["best"]
    for key in ("accuracy", "correct", "count", "interval"):
        assert result[key] == best[key]
    assert result["metrics"]["log_loss"]["value"] == pytest.approx(best["loss"], abs=1e-6)
    assert result["recorded"] == best["accuracy"]
    assert sum(map(sum, result["confusion"])) == 12
    shown = hymenoptera("evaluate", str(finished_run))
    assert "the same" in shown.out and shown.err == ""


def test_evaluate_on_other_images(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    """A folder of some of the classes; one with a class that the model lacks is an error."""
    shutil.copytree(images / "val" / "birch", tmp_path / "others" / "birch")
    command = ("evaluate", str(finished_run), "--data", "others", "--json")
    result = json.loads(hymenoptera(*command).out)
    assert result["count"] == result["per_class"]["birch"]["count"] == 4
    assert result["per_class"]["ash"]["recall"] is result["recorded"] is None
    (tmp_path / "others/birch/torn.png").write_bytes(b"torn")
    assert "birch/torn.png cannot be read" in hymenoptera(*command).err
    (tmp_path / "others" / "brich").mkdir()
    assert "no class brich. Did you mean birch?" in hymenoptera(*command).err


def test_evaluate_needs_the_images_of_the_run(
    tmp_path: Path, moved: Callable[[Path], Path], images: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(images, mine)
    checkpoint = moved(mine)
    assert evaluation.evaluate(checkpoint)["count"] == 12
    shutil.copy(mine / "val/ash/000.png", mine / "val/ash/100.png")
    with pytest.raises(ConfigError, match="not those of the run"):
        evaluation.evaluate(checkpoint)
    shutil.rmtree(mine)
    with pytest.raises(ConfigError, match=r"no longer in .*--data"):
        evaluation.evaluate(checkpoint)
    node = {"config": {"data": {"root": "x"}}, "data": {"test_manifest_hash": None}}
    with pytest.raises(ConfigError, match="held no test images out"):
        evaluation.run_data(node, "test")


def test_the_held_out_test_images(tmp_path: Path, hymenoptera: Command, finished_run: Path) -> None:
    """`evaluate --test` finds what the run recorded, and `test_best` records it for a sweep."""
    shutil.copytree(finished_run, tmp_path / "run")
    recorded = read_summary(finished_run)
    assert recorded is not None and recorded.test is not None
    result = json.loads(hymenoptera("evaluate", "run", "--test", "--json").out)
    assert result["recorded"] == result["accuracy"] == recorded.test["accuracy"]
    write_summary(tmp_path / "run", replace(recorded, test=None))
    predictions = tmp_path / "run" / "test_predictions.csv"
    predictions.unlink()
    evaluation.test_best(tmp_path / "run")
    now = read_summary(tmp_path / "run")
    assert now is not None and now.test is not None
    assert now.test.pop("loss") == pytest.approx(recorded.test.pop("loss"), abs=1e-6)
    assert now == recorded
    assert predictions.read_text() == (finished_run / "test_predictions.csv").read_text()


def test_show(tmp_path: Path, hymenoptera: Command, finished_run: Path, best: Path) -> None:
    """The same from a run's record and from the checkpoint alone, also in mid-epoch (fault 22)."""
    shown = json.loads(hymenoptera("show", str(finished_run), "--json").out)
    assert shown["accuracy"] == read_summary(finished_run).best["accuracy"]
    assert shown["data"]["classes"] == ["ash", "birch", "cedar"]
    shutil.copy(best, tmp_path / "alone.ckpt")
    opened = json.loads(hymenoptera("show", "alone.ckpt", "--json").out)
    assert {k: opened[k] for k in ("epoch", "step", "command", "data")}.items() <= shown.items()
    assert opened["accuracy"] == pytest.approx(shown["accuracy"])
    assert opened["model"]["parameter_count"] == shown["model"]["parameter_count"]
    assert "ash, birch, cedar" in hymenoptera("show", "alone.ckpt").out
    last = hymenoptera("show", str(best.with_name("last.ckpt"))).out
    assert "epoch      2, step " in last


def test_runs(tmp_path: Path, hymenoptera: Command, finished_run: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "runs" / "good")
    overrides = tmp_path / "runs" / "killed" / ".hydra" / "overrides.yaml"
    shutil.copytree(finished_run / ".hydra", overrides.parent)
    overrides.write_text("- experiment=demo\n")
    rows = json.loads(hymenoptera("runs", "--json").out)
    assert [(row["folder"], row["status"], row["experiment"]) for row in rows] == [
        ("runs/good", "completed", None),
        ("runs/killed", "unfinished", None),
    ]
    assert hymenoptera("runs", "--sort", "accuracy").out.splitlines()[2].endswith("runs/good")


def test_report_and_compare(tmp_path: Path, hymenoptera: Command, finished_run: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    assert hymenoptera("report", "run").out == "run/report.html\n"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    compared = json.loads(hymenoptera("compare", "run", str(finished_run), "--json").out)
    assert (compared["count"], compared["differ"], compared["same_data"]) == (12, False, True)


def test_outputs_go_to_devices_and_through_links(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    """Fault 8: neither a device nor a symbolic link is replaced by a file."""
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("target.csv")
    command = ("predict", str(finished_run), str(images / "val/ash/000.png"), "--format", "csv")
    for output in ("/dev/null", "link.csv"):
        ended = hymenoptera(*command, "-o", output, "--gallery", "/dev/null")
        assert (ended.status, ended.err) == (0, "")
    form = ("--format", "safetensors", "-o", "/dev/null")
    assert hymenoptera("export", str(finished_run), *form).status == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text().startswith("path,class_1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prdict"], ["predict"]),
        (["predict", "nowhere", "x.png"], ["nowhere", "no such run folder or checkpoint"]),
        (["predict", "in.txt", "x.png", "--output", "no/folder.csv"], ["no/folder.csv"]),
        (["predict", "in.txt", "x.png", "--output", "."], ["is a folder"]),
        (["predict", "in.txt", "x.png", "--grad-cam"], ["--gallery"]),
        (["predict", "in.txt", "photos/*.jpg"], ["photos/*.jpg", "no images"]),
        (["show", "in.txt"], ["cannot be read as a checkpoint"]),
        (["export", "in.txt"], ["--format"]),
        (["export", "in.txt", "--format", "pt2", "-o", "x.onnx"], ["ends in .pt2"]),
        (["compare", ".", "."], ["no finished run"]),
        (["runs", "nowhere"], ["nowhere", "no such folder"]),
        (["runs", "--sort", "size"], ["accuracy"]),
        (["check", "nowhere"], ["no such folder"]),
        (["check", "."], ["no images in class folders"]),
        (["check", ".", "--model", "resnet19"], ["resnet18"]),
        (["check", ".", "--weights", "gone.pth"], ["no such file"]),
        (["check", ".", "--page", "no/where.html"], ["no folder no"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_invalid_input_is_told_in_a_few_lines(
    hymenoptera: Command, arguments: list[str], words: list[str]
) -> None:
    Path("in.txt").touch()  # no checkpoint
    ended = hymenoptera(*arguments)
    assert ended.status == 2, ended.out + ended.err
    assert 1 <= len(ended.err.splitlines()) <= 3, ended.err
    assert all(word in ended.err for word in words), ended.err
    assert ended.out == ""


def test_every_command_has_help_with_examples() -> None:
    """Every example names a command and options that there are."""
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names == {
        *("check", "predict", "evaluate", "export", "serve"),
        *("show", "report", "runs", "sweep", "compare", "env", "train"),
        *("backbones", "calibrate", "suggest"),
    }
    for name in names - {"train"}:  # has Hydra's help
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        text, _, examples = shown.output.partition("Examples:")
        lines = examples.strip().splitlines()
        assert lines and all(f"hymenoptera {name}" in line for line in lines), name
        assert {word for word in examples.split() if word.startswith("--")} <= {*text.split()}, name


def test_the_shell_completes_options() -> None:
    words = {"COMP_WORDS": "hymenoptera predict --gr", "COMP_CWORD": "2"}
    environment = {**os.environ, **words, "_HYMENOPTERA_COMPLETE": "complete_bash"}
    code = [sys.executable, "-c", "from hymenoptera.cli import main; main()"]
    ended = subprocess.run(code, env=environment, capture_output=True, text=True)
    assert (ended.stdout.split(), ended.stderr) == (["--grad-cam"], "")


def test_help_and_lists_import_no_torch(finished_run: Path) -> None:
    code = f"""
import sys
from hymenoptera.cli import main
for line in (["--help"], ["predict", "--help"], ["show", {str(finished_run)!r}], ["runs", "."]):
    sys.argv = ["hymenoptera", *line]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
    heavy = {{"torch", "pytorch_lightning", "matplotlib", "hydra"}} & set(sys.modules)
    assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("pattern", "name", "row"),
    [
        ("resnet18", "resnet18", {"parameters_m": 11.7, "input_px": 224, "licence": None}),
        ("timm/vit_tiny*224", "timm/vit_tiny_patch16_224", {"licence": "apache-2.0"}),
    ],
)
def test_backbones_are_listed(
    hymenoptera: Command, pattern: str, name: str, row: dict[str, object]
) -> None:
    ended = hymenoptera("backbones", pattern, "--json")
    found = {one["name"]: one for one in json.loads(ended.out)}
    assert found[name].items() >= row.items() and found[name]["source"]
    assert name in hymenoptera("backbones", pattern).out


def test_a_network_that_is_none_has_its_nearest(hymenoptera: Command) -> None:
    ended = hymenoptera("backbones", "resnot18")
    assert ended.status == 2 and "Did you mean resnet18" in ended.err
