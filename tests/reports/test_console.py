"""The console summary of a run; the commands that it prints can be pasted."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from hymenoptera.reports.console import end_lines, interrupted_lines, start_lines
from hymenoptera.reports.record import Summary, read_summary


def test_the_start_says_what_is_trained_on_what(make_run: Callable[..., Path]) -> None:
    run = make_run()
    summary = read_summary(run)
    summary.data |= {"skipped": {"a.jpg": "x"}, "classes_missing_in_val": ["bees"], "test_count": 7}
    summary.features = {"computed": 5, "cached": 95}
    summary.device |= {"world_size": 4, "num_nodes": 2, "strategy": "DDPStrategy"}
    text = start_lines(summary, run)
    for line in (
        "images     60 to train on, 40 to validate, 7 held out to test, in 2 classes (ants, bees); "
        "1 unreadable skipped; ignored: 1 .gif",
        "           no validation image of bees",
        "model      resnet18, weights imagenet, new head",
        "           11.2 M parameters; 224 px",
        "trained    head, 1.0 k parameters, learning rate 0.001",
        "features   5 computed, 95 from the cache: the frozen backbone runs once",
        "device     CPU (2 threads), precision 32-true; 2 worker processes read images",
        "processes  4 on 2 machines (DDPStrategy)",
        f"run folder {run}",
    ):
        assert line in text.splitlines()
    summary.data["classes"] = ["ants, red", "bees"]
    assert 'in 2 classes ("ants, red", bees)' in start_lines(summary, run)
    summary.resumes = [{"from_epoch": 3, "from_batch": 5}]
    assert start_lines(summary, run).endswith(f"{run}, resumed in epoch 3 after batch 5")


def test_a_model_and_data_of_the_users_own_need_not_say_anything(tmp_path: Path) -> None:
    assert start_lines(Summary("failed"), tmp_path) == f"run folder {tmp_path}"
    summary = Summary("completed", best={"epoch": 2, "monitor": "val/f1", "score": 0.5})
    assert "best       val/f1 0.5, in epoch 2" in end_lines(summary, tmp_path, False)
    assert end_lines(Summary("failed"), tmp_path, False) == ""


def test_the_end_has_the_result_with_its_interval(make_run: Callable[..., Path]) -> None:
    run = make_run(test={"accuracy": 0.9, "correct": 9, "count": 10, "interval": [0.6, 0.98]})
    (run / "report.html").touch()
    text = end_lines(read_summary(run), run, tensorboard=True)
    for line in (
        "best       90.0 % of the validation images correct (36 of 40), in epoch 2",
        "           95 % Wilson interval 76.9 to 96.0 %",
        "test set   90.0 % of the held-out test images correct (9 of 10)",
        "time       25 s, training 12.0 images a second",
        f"checkpoint {run}/checkpoints/best.ckpt",
        f"report     {run}/report.html",
        f"curves     tensorboard --logdir {run.parent}",
    ):
        assert line in text.splitlines()


def test_paths_are_those_from_where_the_user_stands_and_commands_are_quoted(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("my runs/a 'b'")
    assert interrupted_lines(run).startswith("Interrupted before its first checkpoint")
    (run / "checkpoints" / "last.ckpt").touch()
    command = interrupted_lines(run).partition("with: ")[2]
    assert shlex.split(command) == ["python", "train.py", f"resume={run}"]
    curves = end_lines(read_summary(run), run, tensorboard=True).rpartition("curves     ")[2]
    assert shlex.split(curves) == ["tensorboard", "--logdir", str(run.parent)]
    monkeypatch.chdir(run.parent)
    for folder in (run, Path(run.name)):
        assert start_lines(read_summary(run), folder).endswith("run folder a 'b'")
