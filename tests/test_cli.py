"""The `hymenoptera` command on a finished run, as a user types it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import Ended
from hymenoptera.cli.application import app

Command = Callable[..., Ended]


def read_predictions(run: Path) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in csv.DictReader((run / "predictions.csv").open())}


def test_predict_equals_what_the_run_recorded(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, pictures: Path
) -> None:
    ended = hymenoptera(
        *("predict", str(finished_run), str(pictures / "val"), "--format", "csv"),
        *("--top-k", "3", "--output", "found.csv"),
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    recorded = read_predictions(finished_run)
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert len(rows) == len(recorded) == 12
    for row in rows:
        expected = recorded[Path(row["path"]).relative_to(pictures).as_posix()]
        assert row["class_1"] == expected["predicted"]
        for rank in "123":
            found = float(row[f"probability_{rank}"])
            assert found == pytest.approx(float(expected[row[f"class_{rank}"]]), abs=1e-6)


def test_evaluate_equals_what_the_run_recorded(hymenoptera: Command, finished_run: Path) -> None:
    ended = hymenoptera("evaluate", str(finished_run), "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    best = json.loads((finished_run / "summary.json").read_text())["best"]
    for key in ("val_accuracy", "correct", "count", "interval"):
        assert found[key] == best[key]
    assert found["recorded"] == best["val_accuracy"]
    assert sum(map(sum, found["confusion"])) == 12
    assert "the same" in hymenoptera("evaluate", str(finished_run)).out


def test_evaluate_on_other_pictures(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, pictures: Path
) -> None:
    """A folder of some of the classes; one with a class that the model lacks is refused."""
    shutil.copytree(pictures / "val" / "birch", tmp_path / "others" / "birch")
    found = json.loads(hymenoptera("evaluate", str(finished_run), "--data", "others", "--json").out)
    assert found["count"] == found["per_class"]["birch"]["count"] == 4
    assert found["per_class"]["ash"]["recall"] is None
    (tmp_path / "others" / "brich").mkdir()
    ended = hymenoptera("evaluate", str(finished_run), "--data", "others")
    assert ended.status == 2
    assert "no class brich. Did you mean birch?" in ended.err


def test_evaluate_refuses_pictures_that_changed(
    tmp_path: Path, hymenoptera: Command, run_train: Command, tiny: list[str], pictures: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "mine")
    assert run_train(*tiny, "data.root=mine", "hydra.run.dir=run").status == 0
    shutil.copy(tmp_path / "mine/val/ash/000.png", tmp_path / "mine/val/ash/100.png")
    ended = hymenoptera("evaluate", "run")
    assert ended.status == 2
    assert "not those of the run" in ended.err
    shutil.rmtree(tmp_path / "mine")
    ended = hymenoptera("evaluate", "run/checkpoints/best.ckpt")
    assert ended.status == 2
    assert "no longer in" in ended.err and "--data" in ended.err


def test_an_unreadable_picture_is_a_row_and_the_others_are_done(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, pictures: Path
) -> None:
    (tmp_path / "half.png").write_bytes((pictures / "val/ash/000.png").read_bytes()[:300])
    (tmp_path / "in.txt").write_text(f"half.png\n{pictures}/val/ash/001.png\n\nnowhere.png\n")
    ended = hymenoptera("predict", str(finished_run), "-", "--format", "jsonl")
    assert ended.status == 1
    half, good, nowhere = map(json.loads, ended.out.splitlines())
    assert "truncated" in half["error"]
    assert nowhere == {"path": "nowhere.png", "error": "there is no such file"}
    assert [p["class"] for p in good["predictions"]] != []
    table = hymenoptera("predict", str(finished_run), "half.png", f"{pictures}/val/ash/001.png")
    assert "unreadable" in table.out and "001.png" in table.out


def test_any_format_and_orientation(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, pictures: Path
) -> None:
    """GIF, greyscale, and a picture on its side with an EXIF note that says so; by a pattern."""
    folder = tmp_path / "photos"
    folder.mkdir()
    original = Image.open(pictures / "val/ash/000.png")
    original.save(folder / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    original.rotate(90, expand=True).save(folder / "b.png", exif=exif)
    original.convert("L").save(folder / "c.gif")
    (folder / "notes.txt").write_text("not a picture")
    ended = hymenoptera("predict", str(finished_run), "photos/*.[pg]*", "--format", "json")
    assert ended.status == 0, ended.err
    upright, turned, grey = json.loads(ended.out)
    assert upright["predictions"] == turned["predictions"] != grey["predictions"]
    found = hymenoptera("predict", str(finished_run), "photos", "--format", "json").out
    assert [row["path"] for row in json.loads(found)] == [
        f"photos/{n}" for n in ("a.png", "b.png", "c.gif")
    ]


def test_a_gallery_with_heat(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, pictures: Path
) -> None:
    command = ("predict", str(finished_run), str(pictures / "val" / "ash"), "nowhere.png")
    assert hymenoptera(*command, "--gallery", "plain.html").status == 1
    assert hymenoptera(*command, "--gallery", "heat.html", "--grad-cam").status == 1
    plain, heat = ((tmp_path / f"{name}.html").read_text() for name in ("plain", "heat"))
    for page in (plain, heat):
        assert page.count("<img") == page.count("src='data:image/jpeg;base64,") == 4
        assert "there is no such file" in page
        assert "http" not in page
    sizes = [sum(map(len, re.findall("base64,([^']+)", page))) for page in (plain, heat)]
    assert sizes[1] > 1.2 * sizes[0]  # two pictures side by side
    assert hymenoptera(*command, "--grad-cam").status == 2


def test_show_and_runs(tmp_path: Path, hymenoptera: Command, finished_run: Path) -> None:
    summary = json.loads((finished_run / "summary.json").read_text())
    shown = json.loads(hymenoptera("show", str(finished_run), "--json").out)
    assert shown["accuracy"] == summary["best"]["val_accuracy"]
    assert shown["data"]["classes"] == ["ash", "birch", "cedar"]
    alone = shutil.copy(finished_run / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    opened = json.loads(hymenoptera("show", str(alone), "--json").out)
    for key in ("epoch", "command", "data"):
        assert opened[key] == shown[key]
    assert opened["accuracy"] == pytest.approx(shown["accuracy"])
    assert opened["model"]["parameter_count"] == shown["model"]["parameter_count"]
    assert "ash, birch, cedar" in hymenoptera("show", "alone.ckpt").out

    shutil.copytree(finished_run, tmp_path / "runs" / "good")
    shutil.copytree(finished_run / ".hydra", tmp_path / "runs" / "killed" / ".hydra")
    (tmp_path / "runs" / "killed" / ".hydra" / "overrides.yaml").write_text("- experiment=demo\n")
    rows = json.loads(hymenoptera("runs", "--json").out)
    assert [(row["folder"], row["status"], row["experiment"]) for row in rows] == [
        ("runs/good", "completed", None),
        ("runs/killed", "unfinished", "demo"),
    ]
    assert rows[0]["accuracy"] == summary["best"]["val_accuracy"]
    for option, value in (("experiment", "demo"), ("status", "unfinished")):
        (row,) = json.loads(hymenoptera("runs", f"--{option}", value, "--json").out)
        assert row["folder"] == "runs/killed"
    assert json.loads(hymenoptera("runs", "--min-accuracy", "1", "--json").out) in ([], rows[:1])
    assert hymenoptera("runs", "--sort", "accuracy").out.splitlines()[2].endswith("runs/good")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prdict"], ["predict"]),
        (["predict", "--topk", "3"], ["--top-k"]),
        (["predict", "nowhere", "x.png"], ["nowhere", "no such run folder or checkpoint"]),
        (["predict", "."], ["PATH"]),
        (["predict", ".", "x.png"], ["not a run folder"]),
        (["predict", "x.ckpt", "x.png", "--output", "no/folder.csv"], ["no/folder.csv"]),
        (["predict", "x.ckpt", "x.png", "--output", "."], ["is a folder"]),
        (["predict", "out.txt", "photos/*.jpg"], ["photos/*.jpg", "no pictures"]),
        (["show", "out.txt"], ["cannot be read as a checkpoint"]),
        (["export", "out.txt"], ["--format"]),
        (["compare", ".", "."], ["no finished run"]),
        (["runs", "nowhere"], ["nowhere", "no such folder"]),
        (["runs", "--sort", "size"], ["accuracy"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_request_is_refused_in_a_few_lines(
    hymenoptera: Command, arguments: list[str], words: list[str]
) -> None:
    ended = hymenoptera(*arguments)
    assert ended.status == 2, ended.out + ended.err
    assert 1 <= len(ended.err.splitlines()) <= 3, ended.err
    assert all(word in ended.err for word in words), ended.err
    assert ended.out == ""


def test_every_command_has_help_with_examples() -> None:
    """As it is printed, and every example names a command and options that there are."""
    runner = CliRunner()
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(names) == len(set(names)) == 11
    for name in names:
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        text, _, examples = shown.output.partition("Examples:")
        lines = [line.strip() for line in examples.strip().splitlines()]
        assert lines, name
        for line in lines:
            _, found, words = line.partition(f"hymenoptera {name} ")
            assert found or line == f"hymenoptera {name}"
            for option in (word for word in words.split() if word.startswith("--")):
                assert option in text, (name, option)


def complete(*words: str) -> list[str]:
    environment = {
        "_HYMENOPTERA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["hymenoptera", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = "from hymenoptera.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    assert ended.stderr == ""
    return ended.stdout.split()


def test_the_shell_completes_commands_options_and_values() -> None:
    assert complete("ev") == ["evaluate"]
    assert "--grad-cam" in complete("predict", "--gr")
    assert complete("export", "run", "--format", "sa") == ["safetensors"]


def test_help_and_lists_import_no_torch(finished_run: Path) -> None:
    for arguments in (
        ["--help"],
        ["predict", "--help"],
        ["show", str(finished_run)],
        ["runs", "."],
    ):
        code = (
            "import sys\nfrom hymenoptera.cli import main\n"
            f"sys.argv = ['hymenoptera', *{arguments!r}]\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
            "heavy = {'torch', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
