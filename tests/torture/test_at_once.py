"""Eight processes at once: each thing is made once, and nobody reads a half."""

import csv
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import run, start
from hymenoptera.data.features import cached
from hymenoptera.download import download
from loopback import Fault, Loopback, loopback  # noqa: F401 - a fixture

COUNT = 8


def all_at_once(work: Callable[..., None], *arguments: object) -> None:
    """Do the work in eight processes that wait for each other before they begin."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(COUNT)

    def begin() -> None:
        barrier.wait()
        work(*arguments)

    processes = [context.Process(target=begin) for _ in range(COUNT)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * COUNT


def test_8_downloads_of_one_file(loopback: Loopback, tmp_path: Path) -> None:  # noqa: F811
    loopback.content = os.urandom(300_000)
    loopback.always = Fault("slow", 200)
    target = tmp_path / "place" / "file"

    def work() -> None:
        assert download(loopback.url, target).read_bytes() == loopback.content

    all_at_once(work)
    assert len(loopback.requests) == 1
    assert [p.name for p in target.parent.iterdir()] == ["file"]


def test_8_processes_that_fill_one_cache(tmp_path: Path) -> None:
    rows = torch.arange(64 * 50, dtype=torch.float32).view(64, 50)

    def compute() -> list[torch.Tensor]:
        with (tmp_path / "computed").open("a") as file:
            file.write("once\n")
        time.sleep(0.2)
        return [rows[:32], rows[32:]]

    def work() -> None:
        found, _ = cached(tmp_path / "cache", {"weights": "w"}, 64, compute)
        assert torch.equal(found, rows)

    all_at_once(work)
    assert (tmp_path / "computed").read_text() == "once\n"
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.torture
def test_8_sweeps_in_one_folder(tmp_path: Path, tiny: list[str]) -> None:
    """One of them runs its jobs, each once; the others say that it does, in a line."""
    request = (
        *("-m", *tiny, "transfer=head", "transfer.cache=false", "report=false"),
        *("trainer.max_epochs=1", "seed=1,2", "sweep.name=one", f"hydra.sweep.dir={tmp_path}/one"),
    )
    processes = []
    for number in range(COUNT):
        folder = tmp_path / str(number)
        folder.mkdir()
        processes.append(start("train.py", request, folder, {}))
    for process in processes:
        process.join(timeout=200)
    errors = [(tmp_path / str(n) / "err.txt").read_text() for n in range(COUNT)]
    assert all("Traceback" not in error for error in errors)
    assert {p.exitcode for p in processes} <= {0, 2}
    assert 0 in {p.exitcode for p in processes}
    for process, error in zip(processes, errors, strict=True):
        assert process.exitcode == 0 or 1 <= len(error.strip().splitlines()) <= 3
    rows = list(csv.DictReader((tmp_path / "one" / "sweep.csv").open()))
    assert [row["done"] for row in rows] == ["2"]  # both seeds of the one setting
    assert {p.name for p in (tmp_path / "one").iterdir() if p.is_dir()} == {"0", "1"}
    begun = sum("epoch" in (tmp_path / str(n) / "out.txt").read_text() for n in range(COUNT))
    assert begun == 1
    ended = run("train.py", request, tmp_path / "0", {})
    assert ended.status == 0
