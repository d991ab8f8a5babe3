"""Runs of several processes, as Lightning, torchrun and SLURM start them."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from command_line import ROOT
from conftest import LEAN, Ended, start, tiny_overrides, write_images
from hymenoptera.train import lost_process

FROZEN = [  # the same weights whatever the number of processes
    *("experiment=head", "transfer.cache=false", "trainer.max_epochs=1", "optimizer.lr=1e-30"),
    *("data.eval_batch_size=4", "data.batch_size=2", *LEAN),
]
DDP = ["trainer=ddp", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 images to validate: no number of processes from 2 to 4 divides them."""
    splits = {"train": {"ash": 11, "birch": 10}, "val": {"ash": 12, "birch": 11}}
    return write_images(tmp_path_factory.mktemp("odd") / "trees", splits)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def torchrun(rank: int, count: int, port: str) -> dict[str, str]:
    """What torchrun tells a process."""
    return {
        **{"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)},
        **{"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        **{"TORCHELASTIC_RUN_ID": f"run-{port}", "GROUP_RANK": "0"},
        **{"ROLE_RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": "0"},
    }


def slurm(rank: int, count: int, port: str) -> dict[str, str]:
    """What srun tells a task."""
    return {
        **{"SLURM_NTASKS": str(count), "SLURM_NTASKS_PER_NODE": str(count), "SLURM_NNODES": "1"},
        **{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"},
        **{"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "4242", "SLURM_NODELIST": "127.0.0.1"},
        "MASTER_PORT": port,
    }


def run_ranks(
    folder: Path, count: int, *arguments: str, by: Callable[..., dict[str, str]] = torchrun
) -> list[Ended]:
    """Start a run's processes, each in a folder of its own, and wait for their ends."""
    port = free_port()
    processes = []
    for rank in range(count):
        (folder / f"rank{rank}").mkdir(parents=True, exist_ok=True)
        environment = by(rank, count, port) if count > 1 else {}
        processes.append(start("train.py", arguments, folder / f"rank{rank}", environment))
    ended = []
    for rank, process in enumerate(processes):
        process.join(timeout=240)
        assert process.exitcode is not None, f"process {rank} did not end"
        out, err = ((folder / f"rank{rank}" / f"{n}.txt").read_text() for n in ("out", "err"))
        ended.append(Ended(process.exitcode, out, err))
    return ended


def rows_of(run_folder: Path, file: str = "metrics.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((run_folder / file).open()))


def summary_of(run_folder: Path) -> dict[str, Any]:
    return json.loads((run_folder / "summary.json").read_text())


def validation(run_folder: Path) -> tuple[str, str, bytes]:
    """What a run found of the 23 images; each is there once."""
    (row,) = rows_of(run_folder)
    best = summary_of(run_folder)["best"]
    assert best["count"] == 23
    assert float(row["val/accuracy"]) == pytest.approx(best["correct"] / 23, abs=1e-7)
    paths = [prediction["path"] for prediction in rows_of(run_folder, "predictions.csv")]
    assert len(set(paths)) == len(paths) == 23
    return row["val/loss"], row["val/accuracy"], (run_folder / "predictions.csv").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, odd: Path) -> Path:
    """The run folder of one process."""
    folder = tmp_path_factory.mktemp("one")
    (ended,) = run_ranks(folder, 1, *tiny_overrides(odd), *FROZEN, f"hydra.run.dir={folder}/run")
    assert ended.status == 0, ended.err
    return folder / "run"


@pytest.mark.parametrize(
    ("count", "by"),
    [
        (2, torchrun),
        (2, slurm),
        *(pytest.param(n, torchrun, marks=pytest.mark.torture) for n in (3, 4)),
    ],
)
def test_validation_is_that_of_one_process_to_the_last_bit(
    tmp_path: Path, odd: Path, alone: Path, count: int, by: Callable[..., dict[str, str]]
) -> None:
    """With several processes, some have one batch less than the others."""
    several = [*tiny_overrides(odd), *FROZEN, *DDP, f"trainer.devices={count}"]
    ended = run_ranks(tmp_path, count, *several, f"hydra.run.dir={tmp_path}/run", by=by)
    assert [e.status for e in ended] == [0] * count, ended
    for other in ended[1:]:
        assert (other.out, other.err) == ("", "")
    assert f"processes  {count}" in ended[0].out
    assert validation(tmp_path / "run") == validation(alone)
    (row,) = rows_of(tmp_path / "run")
    assert int(row["step"]) == -(-(21 // count) // 2)
    assert (tmp_path / "run" / "train.log").read_text().count("best so far") == 1


def test_lightnings_own_launcher(
    tmp_path: Path, run_train: Callable[..., Ended], odd: Path, alone: Path
) -> None:
    """The command starts its second process itself; one run folder, one record."""
    command = [*tiny_overrides(odd), *FROZEN, *DDP, "trainer.devices=2"]
    ended = run_train(*command, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert ended.out.count("checkpoints/best.ckpt") == 1
    assert validation(tmp_path / "run") == validation(alone)
    assert summary_of(tmp_path / "run")["device"]["world_size"] == 2


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(one) for one in text.split()]


@pytest.mark.torture
@pytest.mark.parametrize("launcher", ["torchrun", "Lightning"])
def test_a_killed_process_ends_the_run_and_is_named(
    tmp_path: Path, odd: Path, launcher: str
) -> None:
    command = [sys.executable, str(ROOT / "train.py")]
    if launcher == "torchrun":
        options = ["--standalone", "--nproc-per-node=2"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, *command[1:]]
    overrides = [*tiny_overrides(odd), *DDP, "trainer.devices=2", "trainer.max_epochs=100000"]
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, *overrides, "hydra.run.dir=run"], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        killed = children_of(process.pid)[-1]
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        assert process.wait(timeout=60) != 0
        assert time.monotonic() - began < 30
    finally:
        process.kill()
    text = (tmp_path / "log.txt").read_text()
    # by Lightning's launcher, torchrun, or the error of the process that lost the other
    assert re.search(r"rank(: | +: | )1\b", text), text


def test_a_broken_connection_is_told_by_the_process_that_was_killed() -> None:
    """Of those that Lightning started; the others notice it by chance before Lightning does."""
    process = subprocess.Popen(["sleep", "60"])
    process.kill()
    launcher = SimpleNamespace(procs=[process])
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    failure = RuntimeError("Connection reset by peer")
    lost = lost_process(trainer, failure)
    assert str(lost) == "rank 1 was ended by SIGKILL, and the others with it."
    assert lost is not None and lost.__cause__ is failure
    assert lost_process(trainer, None) is None


def test_a_trainer_of_one_process_among_several_is_an_invalid_config(
    tmp_path: Path, odd: Path
) -> None:
    ended = run_ranks(tmp_path, 2, *tiny_overrides(odd), f"hydra.run.dir={tmp_path}/run")
    assert [e.status for e in ended] == [2, 2]
    assert "trainer.devices" in ended[0].err
