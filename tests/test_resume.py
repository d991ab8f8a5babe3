"""A run that was killed, stopped or completed is resumed."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path
from typing import Any

import torch

from conftest import LEAN, Ended, wait_for

Run = Callable[..., Ended]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def test_a_killed_run_resumes_to_the_same_bits(
    tmp_path: Path, run_train: Run, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    """kill -9 within an epoch; with dropout, batch-norm and a schedule."""
    more = ("model=efficientnet_b0", "scheduler=one_cycle", "trainer.max_epochs=3")
    command = [*tiny, *LEAN, *more, "data.batch_size=4"]
    assert run_train(*command, "hydra.run.dir=whole").status == 0
    saved = "callbacks.last_checkpoint.within_epoch_s=0"
    process = start_train(*command, saved, "hydra.run.dir=killed")
    metrics = tmp_path / "killed" / "metrics.csv"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "summary.json").exists()
    ended = run_train("resume=killed")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("killed", "whole")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_ctrl_c_keeps_the_record_and_names_the_command_that_resumes(
    tmp_path: Path, run_train: Run, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    process = start_train(*tiny, *LEAN, "trainer.max_epochs=2000", "hydra.run.dir=run")
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists(), process)
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=180)
    assert process.exitcode == 130
    out = (tmp_path / "out.txt").read_text()
    assert "python train.py resume=run" in out
    summary = read(tmp_path / "run" / "summary.json")
    assert summary["status"] == "interrupted"
    assert summary["best"]["count"] == 12
    more = summary["epochs"] + 2
    ended = run_train("resume=run", f"trainer.max_epochs={more}")  # the command that it named
    assert ended.status == 0, ended.err
    assert read(tmp_path / "run" / "summary.json")["epochs"] == more


def test_a_completed_run_is_trained_longer_again_and_again(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """With one-cycle, which needs to know the new end; the record adds up."""
    assert run_train(*tiny, *LEAN, "scheduler=one_cycle", "hydra.run.dir=run").status == 0
    first = read(tmp_path / "run" / "summary.json")
    for number, override in enumerate(("trainer.max_epochs=4", "data.eval_batch_size=4"), 1):
        ended = run_train("resume=run", override)  # the second one remembers the 4 epochs
        assert ended.status == 0, ended.err
        summary = read(tmp_path / "run" / "summary.json")
        assert (summary["status"], summary["epochs"]) == ("completed", 4)
        assert len(summary["resumes"]) == number
    assert [row["epoch"] for row in rows_of(tmp_path / "run")] == list("1234")
    assert summary["command"] == first["command"]
    assert summary["durations"]["fit_s"] > first["durations"]["fit_s"]


def test_a_resume_that_cannot_be_leaves_the_completed_run(
    tmp_path: Path, run_train: Run, finished_run: Path, images: Path
) -> None:
    """It would change what was trained with, or has no images, or others."""
    shutil.copytree(finished_run, tmp_path / "run")
    shutil.copytree(images, tmp_path / "trees")
    (tmp_path / "trees" / "train" / "ash" / "000.png").unlink()
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    for override in ("optimizer.lr=1e-2", "data.root=/nowhere", "data.root=trees"):
        ended = run_train("resume=run", override, "trainer.max_epochs=3")
        assert ended.status == 2, ended.out
        assert override.split("=")[0] in ended.err or "images" in ended.err
        assert len(ended.err.strip().splitlines()) <= 3
    assert read(tmp_path / "run" / "summary.json")["status"] == "completed"
    after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert {p.name for p in before if before[p] != after[p]} <= {"train.log", "augmented.png"}
    assert run_train("resume=run", "trainer.max_epochs=3", *LEAN).status == 0


def test_a_moved_run_keeps_its_best_checkpoint(
    tmp_path: Path, run_train: Run, finished_run: Path
) -> None:
    """Whatever its new name: quotes, spaces, an equals sign."""
    folder = tmp_path / "a=b and 'c'"
    shutil.copytree(finished_run, folder)
    best = read(folder / "summary.json")["best"]
    before = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    ended = run_train(f"resume={folder}", "trainer.max_epochs=3", *LEAN)
    assert ended.status == 0, ended.err
    assert ended.err == ""
    summary = read(folder / "summary.json")
    accuracies = [float(row["val/accuracy"]) for row in rows_of(folder)]
    assert summary["best"]["epoch"] == accuracies.index(max(accuracies)) + 1
    if summary["best"]["epoch"] == best["epoch"]:
        after = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
        assert after["global_step"] == before["global_step"]


def test_a_deleted_best_checkpoint_is_made_again(
    tmp_path: Path, run_train: Run, hymenoptera: Run, finished_run: Path, images: Path
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    ended = run_train("resume=run", "trainer.max_epochs=3", *LEAN)
    assert ended.status == 0, ended.err
    assert read(tmp_path / "run" / "summary.json")["best"]["epoch"] == 3
    assert hymenoptera("predict", "run", str(images / "val" / "ash" / "000.png")).status == 0


def test_a_best_checkpoint_of_later_epochs_is_set_aside(
    tmp_path: Path, run_train: Run, finished_run: Path
) -> None:
    """The run had gone further than last.ckpt; after the resume those epochs are not its own."""
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    later = torch.load(path, weights_only=True)
    later["epoch"], later["global_step"] = 6, 21
    torch.save(later, path)
    ended = run_train("resume=run", "trainer.max_epochs=3", *LEAN)
    assert ended.status == 0, ended.err
    saved = torch.load(path, weights_only=True)
    assert saved["epoch"] == 2
    assert (path.parent / "best_step_21.ckpt").is_file()


def test_relative_paths_and_config_folders_are_remembered(
    tmp_path: Path, run_train: Run, tiny: list[str], images: Path
) -> None:
    """With hydra.job.chdir=true, a relative data.root, and an experiment of the user's own."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text(
        "# @package _global_\ntrainer:\n  max_epochs: 1\n"
    )
    (tmp_path / "trees").symlink_to(images)
    own = [o for o in tiny if not o.startswith(("data.root", "trainer.max_epochs"))]
    options = ["--config-dir", "mine", "+experiment=short", "hydra.job.chdir=true"]
    ended = run_train(*own, *LEAN, *options, "data.root=trees", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert read(tmp_path / "run" / "summary.json")["epochs"] == 1
    (checkpoint,) = [line for line in ended.out.splitlines() if line.startswith("checkpoint")]
    assert (tmp_path / checkpoint.split(maxsplit=1)[1]).is_file()
    ended = run_train("resume=run", "trainer.max_epochs=2")
    assert ended.status == 0, ended.err
    assert read(tmp_path / "run" / "summary.json")["epochs"] == 2
