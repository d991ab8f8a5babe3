"""Runs of several processes, as torchrun, SLURM and the program itself start them."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import pytest
import torch

from conftest import ROOT, Ended, run, start, tiny_overrides, write_pictures

ADDRESS = "127.0.0.1"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return str(probe.getsockname()[1])


def place(rank: int, count: int, port: str) -> dict[str, str]:
    """What torchrun would tell a process."""
    return {
        **{"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)},
        **{"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": ADDRESS, "MASTER_PORT": port},
    }


def slurm(rank: int, count: int, port: str) -> dict[str, str]:
    """What srun would tell a task."""
    return {
        **{"SLURM_NTASKS": str(count), "SLURM_NTASKS_PER_NODE": str(count), "SLURM_NNODES": "1"},
        **{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"},
        **{"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "4242", "SLURM_NODELIST": ADDRESS},
        "MASTER_PORT": port,
    }


def start_ranks(
    folder: Path, count: int, *arguments: str, by: Callable[..., dict[str, str]] = place
) -> list[Process]:
    """Start a run's processes, each in a folder of its own; the run folder is `folder`/run."""
    port = free_port()
    processes = []
    for rank in range(count):
        (folder / f"rank{rank}").mkdir(parents=True, exist_ok=True)
        processes.append(
            start(
                "train.py",
                (*arguments, f"hydra.run.dir={folder}/run"),
                folder / f"rank{rank}",
                by(rank, count, port) if count > 1 else {},
            )
        )
    return processes


def end_ranks(folder: Path, processes: list[Process], timeout_s: float = 120) -> list[Ended]:
    """Wait for them; how each ended."""
    ended = []
    for rank, process in enumerate(processes):
        process.join(timeout=timeout_s)
        if process.exitcode is None:
            process.kill()
            pytest.fail(f"process {rank} did not end")
        out, err = ((folder / f"rank{rank}" / f"{n}.txt").read_text() for n in ("out", "err"))
        ended.append(Ended(process.exitcode, out, err))
    return ended


def run_ranks(
    folder: Path, count: int, *arguments: str, by: Callable[..., dict[str, str]] = place
) -> list[Ended]:
    return end_ranks(folder, start_ranks(folder, count, *arguments, by=by))


def rows_of(run_folder: Path, file: str = "metrics.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((run_folder / file).open()))


def summary_of(run_folder: Path) -> dict[str, object]:
    return json.loads((run_folder / "summary.json").read_text())


def only_the_leader_spoke(ended: list[Ended], status: int = 0) -> None:
    assert [e.status for e in ended] == [status] * len(ended), ended
    for other in ended[1:]:
        assert (other.out, other.err) == ("", "")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 pictures to validate: no number of processes from 2 to 4 divides them."""
    parts = {"train": {"ash": 11, "birch": 10}, "val": {"ash": 12, "birch": 11}}
    return write_pictures(tmp_path_factory.mktemp("odd") / "trees", parts)


def test_validation_is_the_same_to_the_last_bit_with_1_to_4_processes(
    tmp_path: Path, odd: Path
) -> None:
    """The same weights everywhere: a rate of 1e-30 leaves them as they are."""
    found = {}
    for count in (1, 2, 3, 4):
        folder = tmp_path / str(count)
        ended = run_ranks(
            folder,
            count,
            "experiment=head",
            *tiny_overrides(odd),
            "transfer.cache=false",
            "trainer.max_epochs=1",
            "optimizer.lr=1e-30",
            "data.eval_batch_size=4",
            "data.batch_size=2",
            "report=false",
        )
        only_the_leader_spoke(ended)
        (row,) = rows_of(folder / "run")
        predictions = (folder / "run" / "predictions.csv").read_bytes()
        found[count] = (row["val/loss"], row["val/accuracy"], predictions)
        best = summary_of(folder / "run")["best"]
        assert best["count"] == 23
        assert float(row["val/accuracy"]) == pytest.approx(best["correct"] / 23, abs=1e-7)
        assert int(row["step"]) == -(-(21 // count) // 2)  # of 21 pictures what can be dealt out
    assert len({row["path"] for row in rows_of(tmp_path / "1" / "run", "predictions.csv")}) == 23
    assert all(found[count] == found[1] for count in (2, 3, 4)), found


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(
    tmp_path: Path, pictures: Path
) -> None:
    common = ["experiment=head", *tiny_overrides(pictures), "report=false"]
    common += [f"transfer.cache_folder={tmp_path}/features", "transfer.views=2"]
    (single,) = run_ranks(tmp_path / "one", 1, *common, "data.batch_size=6")
    assert single.status == 0, single.err
    scaled = ["data.batch_size=3", "optimizer.lr=5e-3", "trainer.scale_lr=true"]
    pair = run_ranks(tmp_path / "two", 2, *common, *scaled, by=slurm)
    only_the_leader_spoke(pair)
    assert "processes  2 (ddp): 6 pictures a step, 3 each; the rate is multiplied by 2" in (
        pair[0].out
    )
    assert pair[0].err == ""
    assert "0 computed, 84 from the cache" in pair[0].out
    one, two = (rows_of(tmp_path / name / "run") for name in ("one", "two"))
    assert [row["lr/head"] for row in one] == [row["lr/head"] for row in two]
    for a, b in zip(one, two, strict=True):
        for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
            assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-4)
    assert summary_of(tmp_path / "two" / "run")["device"]["batch_size"] == 6


def test_the_same_seed_and_number_of_processes_give_the_same_bytes(
    tmp_path: Path, odd: Path
) -> None:
    """With a stage that has no gradient in the first epoch, and batch norm."""
    common = [*tiny_overrides(odd), "transfer.unfreeze_epochs=[2]", "report=false"]
    for name in "ab":
        only_the_leader_spoke(run_ranks(tmp_path / name, 2, *common))
    for file in ("metrics.csv", "predictions.csv"):
        a, b = ((tmp_path / name / "run" / file).read_bytes() for name in "ab")
        assert a == b


def wait_for(path: Path, process: Process) -> None:
    deadline = time.monotonic() + 100
    while not path.exists():
        assert process.is_alive(), "it ended early"
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_a_killed_process_ends_the_run_which_goes_on_with_another_number(
    tmp_path: Path, odd: Path
) -> None:
    common = [*tiny_overrides(odd), "scheduler=one_cycle", "callbacks.last_checkpoint.every_s=0"]
    processes = start_ranks(tmp_path, 3, *common, "trainer.max_epochs=300")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", processes[0])
    began = time.monotonic()
    os.kill(processes[1].pid, signal.SIGKILL)
    ended = end_ranks(tmp_path, processes)
    assert time.monotonic() - began < 30
    assert [e.status for e in ended] == [1, -signal.SIGKILL, 1]
    lines = ended[0].err.strip().splitlines()
    assert lines[0].startswith("The run failed: process 1 of 3 ended without a word: it was killed")
    assert len(lines) <= 3
    assert "Traceback" not in ended[0].out
    assert ended[2].err == ""
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "failed"
    assert summary["error"] in lines[0]

    epochs = len(rows_of(tmp_path / "run"))
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] + 1
    resumed = run(
        "train.py",
        (f"resume={tmp_path}/run", f"trainer.max_epochs={saved + 1}"),
        tmp_path / "rank0",
        {},
    )
    assert resumed.status == 0, resumed.err
    rows = rows_of(tmp_path / "run")
    assert len(rows) == saved + 1 <= epochs + 2
    assert int(rows[-1]["step"]) - int(rows[-2]["step"]) == 3  # 21 pictures, 8 a step
    assert summary_of(tmp_path / "run")["device"]["processes"] == 1


def test_a_killed_leader_leaves_one_line_and_no_process(tmp_path: Path, odd: Path) -> None:
    processes = start_ranks(tmp_path, 2, *tiny_overrides(odd), "trainer.max_epochs=300")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", processes[0])
    os.kill(processes[0].pid, signal.SIGKILL)
    ended = end_ranks(tmp_path, processes, timeout_s=30)
    assert [e.status for e in ended] == [-signal.SIGKILL, 1]
    (line,) = ended[1].err.strip().splitlines()
    assert line.startswith("The run ended: process 0 of 2 was killed")


def test_all_processes_stop_at_the_batch_in_which_one_was_asked_to(
    tmp_path: Path, odd: Path
) -> None:
    processes = start_ranks(tmp_path, 2, *tiny_overrides(odd), "trainer.max_epochs=300")
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", processes[0])
    os.kill(processes[1].pid, signal.SIGTERM)
    ended = end_ranks(tmp_path, processes, timeout_s=60)
    only_the_leader_spoke(ended, status=130)
    assert "Interrupted. Go on with:" in ended[0].out
    assert summary_of(tmp_path / "run")["status"] == "interrupted"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_bad_request_is_one_line_of_one_process(tmp_path: Path, odd: Path) -> None:
    refused = run_ranks(tmp_path, 2, *tiny_overrides(odd), "trainer=gpu")
    only_the_leader_spoke(refused, status=2)
    (line,) = refused[0].err.strip().splitlines()
    assert "no such device here" in line
    assert not (tmp_path / "run").exists()


def test_the_program_starts_its_processes_itself(tmp_path: Path, odd: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *tiny_overrides(odd), "trainer.devices=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.count("processes  2 (ddp): 16 pictures a step, 8 each") == 1
    assert ended.stdout.count("checkpoint runs/") == 1
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in run_folder.iterdir() if not p.name.startswith("events")} == {
        *(".hydra", "train.log", "checkpoints", "pictures", "embeddings", "projector_config.pbtxt"),
        *("metrics.csv", "predictions.csv", "summary.json", "hparams.yaml", "report.html"),
    }
    assert len(list(run_folder.glob("events*"))) <= 2  # the run's, and the judgement's
    assert (run_folder / "train.log").read_text().count("best so far") >= 1


def test_two_nodes_of_torchrun(tmp_path: Path, odd: Path) -> None:
    port = free_port()
    nodes = []
    for node in (0, 1):
        (tmp_path / f"node{node}").mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        command += ["--nproc-per-node=1", f"--node-rank={node}"]
        command += [f"--master-addr={ADDRESS}", f"--master-port={port}", str(ROOT / "train.py")]
        command += ["trainer=ddp", *tiny_overrides(odd), f"hydra.run.dir={tmp_path}/run"]
        with (tmp_path / f"node{node}.txt").open("w") as output:
            nodes.append(
                subprocess.Popen(
                    command, cwd=tmp_path / f"node{node}", stdout=output, stderr=subprocess.STDOUT
                )
            )
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    said = (tmp_path / "node0.txt").read_text()
    assert "processes  2 on 2 machines (ddp): 16 pictures a step, 8 each" in said
    assert len(rows_of(tmp_path / "run", "predictions.csv")) == 23
    assert "epoch" not in (tmp_path / "node1.txt").read_text()
    assert list((tmp_path / "node1").iterdir()) == []
