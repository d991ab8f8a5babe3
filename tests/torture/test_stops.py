"""Stops of every kind, and several runs at once: nothing is lost, nothing is done twice."""

import csv
import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest

from conftest import start, wait_for
from hymenoptera.models.checkpoint import load_classifier

pytestmark = pytest.mark.torture
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["to all", "to the run"])
def test_one_signal_stops_and_names_the_command_that_resumes(
    tmp_path, start_train, small, number, send
):
    """A scheduler and a terminal send it to the processes that read images too."""
    options = ("data.num_workers=1", "trainer.max_epochs=2000", "hydra.run.dir=run")
    process = start_train(*small, *options)
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    send(process.pid, number)
    slow = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    wait_for((tmp_path / "run" / "summary.json").exists, process, timeout_s=10 * slow)
    process.join(timeout=60)
    assert process.exitcode == 130
    assert "python train.py resume=run" in (tmp_path / "out.txt").read_text()
    assert (tmp_path / "err.txt").read_text() == "Interrupted.\n"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["best"]["count"]) == ("interrupted", 12)
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_two_signals_leave_at_once(tmp_path, start_train, small, number):
    process = start_train(*small, "trainer.max_epochs=2000", "hydra.run.dir=run")
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, process)
    began = time.monotonic()
    while process.is_alive() and time.monotonic() - began < 10:  # the second, whenever it falls
        os.kill(process.pid, number)
        time.sleep(0.002)
    assert process.exitcode == 130
    load_classifier(tmp_path / "run" / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_training_leaves_nothing(tmp_path, start_train, number):
    """While it draws the demo's images: neither a run folder nor half a data set."""
    process = start_train("experiment=demo", "data.train_per_class=20000", "hydra.run.dir=run")
    wait_for((tmp_path / "data").exists, process)
    os.kill(process.pid, number)
    process.join(timeout=30)
    process.kill()  # where it did not end, it would draw for minutes
    assert process.exitcode == 130
    assert {p.name for p in tmp_path.iterdir()} <= {"out.txt", "err.txt", "data"}
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("save", ["every_s=0", "within_epoch_s=0"])
def test_kill_9_and_resume_to_the_same_bits(tmp_path, run_train, start_train, small, save, tried):
    """What is resumed is killed too, until it comes to its end; then another run begins."""
    command = [
        *(*small, "trainer.max_epochs=6", "data.batch_size=4"),
        *("scheduler=one_cycle", "report=false", f"callbacks.last_checkpoint.{save}"),
    ]
    began = time.monotonic()
    assert run_train(*command, "hydra.run.dir=whole").status == 0
    whole_s = time.monotonic() - began
    moments, kills, killed = random.Random(save), round(15 * float(os.environ.get("FUZZ", 1))), 0
    run = tmp_path / "none"
    while killed < kills or not (run / "summary.json").exists():
        if not (run / "checkpoints").exists() or (run / "summary.json").exists():
            run = tmp_path / f"run_{killed}_{time.monotonic()}"
            process = start_train(*command, f"hydra.run.dir={run}")
            wait_for((run / "checkpoints" / "last.ckpt").exists, process)
        else:
            process = start_train(f"resume={run}")
        process.join(timeout=moments.uniform(0, whole_s) if killed < kills else 300)
        if process.is_alive():
            with suppress(ProcessLookupError):  # so early that it has no group of its own yet
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
            killed += 1
            for path in (run / "checkpoints").glob("*.ckpt"):
                load_classifier(path)
        else:
            assert process.exitcode == 0, (tmp_path / "err.txt").read_text()
            for file in ("metrics.csv", "predictions.csv"):
                assert (run / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    tried(killed)


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_4_commands_at_once_in_one_folder(tmp_path, small, kind, tried):
    """One of them trains, each epoch once; the others say in a line that it does, or has."""
    folder, processes = tmp_path / kind, []
    command = (*small, "report=false", "trainer.max_epochs=9", f"hydra.{kind}.dir={folder}")
    command += ("-m", "seed=1,2", "sweep.name=one") if kind == "sweep" else ()
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        processes.append(start("train.py", command, tmp_path / str(number), {}))
    for number, process in enumerate(processes):
        process.join(timeout=250)
        error = (tmp_path / str(number) / "err.txt").read_text()
        assert process.exitcode == 0 or (process.exitcode, len(error.splitlines())) == (2, 1), error
    assert 0 in {process.exitcode for process in processes}
    for run in (folder / "0", folder / "1") if kind == "sweep" else (folder,):
        rows = list(csv.DictReader((run / "metrics.csv").open()))
        assert [row["epoch"] for row in rows] == [*"123456789"]
    tried(4)
