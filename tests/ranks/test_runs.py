"""Runs of several processes, as torchrun, SLURM and the program itself start them."""

import csv
import importlib.util
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import pytest
import torch

from conftest import ROOT, Ended, start, tiny_overrides, write_pictures
from hymenoptera.models.checkpoint import load_checkpoint

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
    folder: Path,
    count: int,
    *arguments: str,
    by: Callable[..., dict[str, str]] = place,
    script: str = "train.py",
) -> list[Process]:
    """Start a run's processes, each in a folder of its own; the run folder is `folder`/run."""
    port = free_port()
    processes = []
    for rank in range(count):
        (folder / f"rank{rank}").mkdir(parents=True, exist_ok=True)
        processes.append(
            start(
                script,
                (*arguments, f"hydra.run.dir={folder}/run"),
                folder / f"rank{rank}",
                by(rank, count, port) if count > 1 else {},
            )
        )
    return processes


def end_ranks(folder: Path, processes: list[Process], timeout_s: float = 240) -> list[Ended]:
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


FROZEN = ["experiment=head", "transfer.cache=false", "trainer.max_epochs=1", "optimizer.lr=1e-30"]
"""The same weights whatever the number of processes."""


def validation(run_folder: Path) -> tuple[str, str, bytes]:
    """What a run found of the 23 pictures; each is there once."""
    (row,) = rows_of(run_folder)
    best = summary_of(run_folder)["best"]
    assert best["count"] == 23
    assert float(row["val/accuracy"]) == pytest.approx(best["correct"] / 23, abs=1e-7)
    paths = [prediction["path"] for prediction in rows_of(run_folder, "predictions.csv")]
    assert len(set(paths)) == len(paths) == 23
    return row["val/loss"], row["val/accuracy"], (run_folder / "predictions.csv").read_bytes()


def start_nodes(folder: Path, *arguments: str) -> list[Process]:
    """Start torchrun twice, as on two machines with a process each."""
    torchrun = importlib.util.find_spec("torch.distributed.run").origin
    port = free_port()
    nodes = []
    for node in (0, 1):
        (folder / f"rank{node}").mkdir(parents=True)
        place = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}"]
        place += [f"--master-addr={ADDRESS}", f"--master-port={port}", str(ROOT / "train.py")]
        command = (*place, *arguments, f"hydra.run.dir={folder}/run")
        nodes.append(start(torchrun, command, folder / f"rank{node}", {}))
    return nodes


def test_one_process_two_and_two_nodes_of_torchrun_find_the_same(tmp_path: Path, odd: Path) -> None:
    """To the last bit. With batches of 8, the second of two has one batch less."""
    common = [*tiny_overrides(odd), *FROZEN]
    (single,) = run_ranks(tmp_path / "single", 1, *common)
    (pair,) = run_ranks(tmp_path / "pair", 1, *common, "trainer.devices=2", "trainer=cpu")
    nodes = end_ranks(tmp_path / "nodes", start_nodes(tmp_path / "nodes", *common, "trainer=ddp"))
    assert [ended.status for ended in (single, pair, *nodes)] == [0] * 4, (single, pair, nodes)

    found = {name: validation(tmp_path / name / "run") for name in ("single", "pair", "nodes")}
    assert found["pair"] == found["nodes"] == found["single"]
    pair_rows, nodes_rows = (rows_of(tmp_path / name / "run") for name in ("pair", "nodes"))
    assert pair_rows == nodes_rows  # training as well: the same seed, the same number

    assert pair.err == ""
    assert pair.out.count("processes  2 (ddp): 16 pictures a step, 8 each") == 1
    assert pair.out.count("checkpoints/best.ckpt") == 1
    by_one, by_two = (
        {path.name.split(".")[0] for path in (tmp_path / name / "run").iterdir()}
        for name in ("single", "pair")
    )
    assert by_two == by_one
    log = (tmp_path / "pair" / "run" / "train.log").read_text()
    assert log.count("best so far") == 1
    assert "processes  2 on 2 machines (ddp): 16 pictures a step, 8 each" in nodes[0].out
    assert nodes[1].out == ""
    assert {path.name for path in (tmp_path / "nodes/rank1").iterdir()} == {"out.txt", "err.txt"}


@pytest.mark.torture
@pytest.mark.parametrize("count", [2, 3, 4])
def test_validation_is_that_of_one_process_to_the_last_bit(
    tmp_path: Path, odd: Path, count: int
) -> None:
    """With 4, two of them have one batch less than the others."""
    common = [*tiny_overrides(odd), *FROZEN, "data.eval_batch_size=4", "data.batch_size=2"]
    for name, processes in (("one", 1), ("several", count)):
        only_the_leader_spoke(run_ranks(tmp_path / name, processes, *common))
    assert validation(tmp_path / "several" / "run") == validation(tmp_path / "one" / "run")
    (row,) = rows_of(tmp_path / "several" / "run")
    assert int(row["step"]) == -(-(21 // count) // 2)  # of 21 pictures what can be dealt out


@pytest.mark.torture
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


def test_a_sharded_model_trains_as_a_whole_one_and_either_goes_on_with_the_other(
    tmp_path: Path, odd: Path
) -> None:
    """A checkpoint of epoch 1, when a stage has no gradient yet, and two more epochs."""
    common = [*tiny_overrides(odd), "transfer.unfreeze_epochs=[2]", "trainer.max_epochs=3"]
    common += ["report=false", "+trainer.max_steps=2"]
    strategies = {"fsdp": "tests/ranks/fsdp_on_cpu.py", "ddp": "train.py"}
    found = []
    for began, goes_on in (("ddp", "fsdp"), ("fsdp", "ddp"), ("ddp", "ddp")):
        folder = tmp_path / f"{began}_{goes_on}"
        first = [*common, f"trainer={began}"]
        second = [f"resume={folder}/run", f"trainer.strategy={goes_on}", "trainer.max_steps=-1"]
        for strategy, arguments in ((began, first), (goes_on, second)):
            script = strategies[strategy]
            ended = end_ranks(folder, start_ranks(folder, 2, *arguments, script=script))
            only_the_leader_spoke(ended)
            assert f"2 ({strategy})" in ended[0].out
        found.append([[float(value) for value in row.values()] for row in rows_of(folder / "run")])
        assert len(found[-1]) == 3
        load_checkpoint(folder / "run" / "checkpoints" / "best.ckpt")
    for rows in found[1:]:
        assert rows == [pytest.approx(row, rel=1e-4) for row in found[0]]


@pytest.mark.torture
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


def wait_until(happened: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + 200
    while not happened():
        assert process.is_alive(), "it ended early"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_killed_process_ends_the_run_which_others_go_on_with_until_one_is_stopped(
    tmp_path: Path, odd: Path
) -> None:
    endless = [*tiny_overrides(odd), "scheduler=one_cycle", "callbacks.last_checkpoint.every_s=0"]
    endless += ["trainer.max_epochs=300", "report=false"]
    run_folder = tmp_path / "run"
    processes = start_ranks(tmp_path, 3, *endless)
    wait_until((run_folder / "checkpoints" / "last.ckpt").exists, processes[0])
    os.kill(processes[1].pid, signal.SIGKILL)
    ended = end_ranks(tmp_path, processes)
    assert [e.status for e in ended] == [1, -signal.SIGKILL, 1]
    lines = ended[0].err.strip().splitlines()
    assert lines[0].startswith("The run failed: process 1 of 3 ended without a word: it was killed")
    assert len(lines) <= 3
    assert "Traceback" not in ended[0].out
    assert ended[2].err == ""
    summary = summary_of(run_folder)
    assert summary["status"] == "failed"
    assert summary["error"] in lines[0]

    saved = torch.load(run_folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] + 1
    processes = start_ranks(tmp_path, 2, f"resume={run_folder}")
    wait_until(lambda: len(rows_of(run_folder)) >= saved + 2, processes[0])
    os.kill(processes[1].pid, signal.SIGTERM)
    ended = end_ranks(tmp_path, processes)
    only_the_leader_spoke(ended, status=130)
    assert "Interrupted. Go on with:" in ended[0].out
    rows = rows_of(run_folder)
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    before, after = rows[saved - 1 : saved + 1]
    assert int(after["step"]) - int(before["step"]) == 2  # 20 pictures, 16 a step; it was 1
    summary = summary_of(run_folder)
    assert summary["status"] == "interrupted"
    assert summary["device"]["processes"] == 2


@pytest.mark.torture
def test_two_processes_killed_in_the_middle_of_an_epoch_go_on_there(tmp_path: Path) -> None:
    """With pictures that are kept decoded and cropped on the device."""
    parts = {"train": {"ash": 100, "birch": 100}, "val": {"ash": 12, "birch": 11}}
    many = tiny_overrides(write_pictures(tmp_path / "trees", parts))
    many += ["data.batch_size=2", "trainer.max_epochs=2", "report=false"]
    many += ["data.cache=ram", "data.augment_on=device", "callbacks.last_checkpoint.every_s=0"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    processes = start_ranks(killed, 2, *many, "callbacks.last_checkpoint.within_epoch_s=0")
    wait_until((killed / "run" / "checkpoints" / "last.ckpt").exists, processes[0])
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    end_ranks(killed, processes)
    assert not (killed / "run" / "metrics.csv").exists(), "the first epoch was over"
    ended = run_ranks(killed, 2, f"resume={killed}/run")
    only_the_leader_spoke(ended)
    assert "going on in epoch 1, after batch " in ended[0].out
    only_the_leader_spoke(run_ranks(whole, 2, *many))
    predictions = [(folder / "run" / "predictions.csv").read_bytes() for folder in (killed, whole)]
    assert predictions[0] == predictions[1]
    for ours, theirs in zip(rows_of(killed / "run"), rows_of(whole / "run"), strict=True):
        # what was added up until then was added up over the processes: in another order
        assert float(ours.pop("train/loss")) == pytest.approx(float(theirs.pop("train/loss")))
        assert ours == theirs


@pytest.mark.torture
def test_a_killed_leader_leaves_one_line_and_no_process(tmp_path: Path, odd: Path) -> None:
    processes = start_ranks(tmp_path, 2, *tiny_overrides(odd), "trainer.max_epochs=300")
    wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, processes[0])
    os.kill(processes[0].pid, signal.SIGKILL)
    ended = end_ranks(tmp_path, processes)
    assert [e.status for e in ended] == [-signal.SIGKILL, 1]
    (line,) = ended[1].err.strip().splitlines()
    assert line.startswith("The run ended: process 0 of 2 was killed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainer.devices=3"], "trainer.devices=3: SLURM started 2 processes"),
        (["-m", "seed=1,2"], "run the whole sweep"),
        (["data.root=/nowhere"], "there is no such folder"),
        pytest.param(
            ["trainer=gpu"],
            "no such device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_bad_request_is_told_by_one_process(
    tmp_path: Path, odd: Path, arguments: list[str], words: str
) -> None:
    options = [argument for argument in arguments if argument == "-m"]  # in front of the others
    asked = [*options, *tiny_overrides(odd), *arguments[len(options) :]]
    processes = start_ranks(tmp_path, 2, *asked, by=slurm)
    if arguments[0].startswith("data.root"):  # the others look for it when the leader has
        processes[0].join(timeout=120)
        os.kill(processes[1].pid, signal.SIGTERM)  # as srun does once the leader is gone
    ended = end_ranks(tmp_path, processes)
    if not arguments[0].startswith("data.root"):
        only_the_leader_spoke(ended, status=2)
    assert ended[0].status == 2
    assert words in ended[0].err
    assert len(ended[0].err.strip().splitlines()) == 1 + len(options)
    assert (ended[1].out, ended[1].err) == ("", "")
    assert not (tmp_path / "run").exists()
