"""Stops of every kind: nothing is lost, and the run says how it goes on."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Process
from pathlib import Path

import pytest

from conftest import Ended
from hymenoptera.models.checkpoint import load_checkpoint

Start = Callable[..., Process]
Run = Callable[..., Ended]


def wait_for(path: Path, process: Process) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.torture
@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        (signal.SIGTERM, True),
        (signal.SIGTERM, False),
        (signal.SIGINT, True),
        (signal.SIGINT, False),
    ],
    ids=[
        "SIGTERM to all",
        "SIGTERM to the run",
        "Ctrl-C to all",
        "Ctrl-C to the run",
    ],
)
def test_one_signal_stops_with_the_line_that_goes_on(
    tmp_path: Path,
    start_train: Start,
    tiny: list[str],
    number: signal.Signals,
    to_all: bool,
) -> None:
    """A scheduler and a terminal send it to the processes that read pictures too."""
    process = start_train(
        *tiny, "data.num_workers=1", "trainer.max_epochs=900", "hydra.run.dir=run"
    )
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    (os.killpg if to_all else os.kill)(process.pid, number)
    process.join(timeout=10)
    assert process.exitcode == 130
    assert "Go on with: python train.py resume=run" in (tmp_path / "out.txt").read_text()
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["best"]["count"] == 12
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.torture
def test_two_signals_leave_at_once(tmp_path: Path, start_train: Start, tiny: list[str]) -> None:
    process = start_train(*tiny, "trainer.max_epochs=900", "hydra.run.dir=run")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    began = time.monotonic()
    while process.is_alive() and time.monotonic() - began < 10:  # the second one, whenever it falls
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.002)
    assert process.exitcode == 130
    assert time.monotonic() - began < 5
    load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_sigterm_before_training_leaves_nothing(tmp_path: Path, start_train: Start) -> None:
    """While it draws the demo's pictures: neither a run folder nor half a data set."""
    process = start_train("experiment=demo", "data.train_per_class=20000", "hydra.run.dir=run")
    wait_for(tmp_path / "data", process)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=30)
    process.kill()  # where it did not end, it would draw for minutes
    assert process.exitcode == 130
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    assert {p.name for p in tmp_path.iterdir()} <= {"out.txt", "err.txt", "data"}
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


def kill_and_resume(
    tmp_path: Path, run_train: Run, start_train: Start, tiny: list[str], kills: int
) -> None:
    """Kill a run, and what goes on with it, at random moments; then compare with a whole one."""
    command = [
        *tiny,
        *("model=mobilenet_v3_small", "trainer.max_epochs=6", "data.batch_size=4"),
        *("callbacks.last_checkpoint.every_s=0", "optimizer.lr=1e-3", "report=false"),
    ]
    began = time.monotonic()
    assert run_train(*command, "hydra.run.dir=whole").status == 0
    whole_s = time.monotonic() - began
    moments = random.Random(kills)
    killed = tmp_path / "killed"
    last = killed / "checkpoints" / "last.ckpt"
    begun, done = 0, 0
    while done < kills:
        if not last.exists():
            process = start_train(*command, "hydra.run.dir=killed")
            begun += 1
            wait_for(last, process)
        else:
            process = start_train("resume=killed")
        process.join(timeout=moments.uniform(0, whole_s))
        if not process.is_alive():  # it came to its end: begin another one
            assert process.exitcode == 0, (tmp_path / "err.txt").read_text()
            compare(tmp_path)
            last.unlink()
            continue
        with suppress(ProcessLookupError):  # so early that it has no group of its own yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        done += 1
        for path in (killed / "checkpoints").glob("*.ckpt"):
            load_checkpoint(path)
    ended = run_train("resume=killed")
    assert ended.status == 0, ended.err
    compare(tmp_path)


def compare(tmp_path: Path) -> None:
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.torture
def test_kill_9_at_30_random_moments(
    tmp_path: Path,
    run_train: Run,
    start_train: Start,
    tiny: list[str],
    record_property: Callable[..., None],
) -> None:
    kill_and_resume(tmp_path, run_train, start_train, tiny, 30)
    record_property("tried", 30)
