"""Disks that are full, read-only or gone: a line that says where, and nothing half-written."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing import Process
from pathlib import Path

import pytest
import torch

from conftest import Ended
from hymenoptera.atomic import write_file
from hymenoptera.data.archive import unpack
from hymenoptera.data.features import cached
from hymenoptera.download import DownloadError, download
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import load_checkpoint
from loopback import Loopback, loopback, zip_bytes  # noqa: F401 - a fixture

Disk = Callable[..., Path]


def mount(*arguments: str) -> bool:
    command = shutil.which("mount")
    if command is None:
        return False
    return subprocess.run([command, *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a small disk of its own; skips where that is not allowed."""
    place = tmp_path / "disk"

    def make(size: str) -> Path:
        place.mkdir(exist_ok=True)
        if not mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
            pytest.skip("needs the right to mount a small disk")
        return place

    yield make
    subprocess.run(["umount", "-l", str(place)], capture_output=True)


def fill(folder: Path) -> Path:
    """Write until the disk is full."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def left_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_full_disk_at_download(disk: Disk, loopback: Loopback) -> None:  # noqa: F811
    loopback.content = os.urandom(400_000)
    place = disk("200k")
    with pytest.raises(DownloadError, match=r"Could not save .*/file: No space left") as raised:
        download(loopback.url, place / "file", attempts=2, backoff_s=0.001)
    assert len(str(raised.value).splitlines()) == 1
    assert not (place / "file").exists()
    mount("-o", "remount,size=2m", str(place))
    download(loopback.url, place / "file", backoff_s=0.001)
    assert (place / "file").read_bytes() == loopback.content
    assert left_in(place) == {"file"}


def test_a_full_disk_at_unpacking(disk: Disk, tmp_path: Path) -> None:
    archive = tmp_path / "some.zip"
    archive.write_bytes(zip_bytes({f"{n}.jpg": os.urandom(20_000) for n in range(20)}))
    place = disk("200k")
    with pytest.raises(RequestError, match="needs 0 MB"):
        unpack(archive, place)
    assert left_in(place) == set()


def test_a_full_disk_at_caching(disk: Disk) -> None:
    place = disk("200k")
    rows = [torch.rand(16, 1000) for _ in range(10)]
    with pytest.raises(RequestError, match=r"features cannot be kept there \(No space left"):
        cached(place / "features", {"a": 1}, 160, lambda: rows)
    assert left_in(place) == set()
    found, computed = cached(place / "features", {"a": 2}, 16, lambda: rows[:1])
    assert computed
    assert torch.equal(found, rows[0])


def test_a_full_disk_at_an_older_file(disk: Disk) -> None:
    place = disk("64k")
    write_file(place / "summary.json", "old")
    fill(place)
    with pytest.raises(OSError, match="No space left") as raised:
        write_file(place / "summary.json", "new" * 10_000)
    assert raised.value.filename == str(place / "summary.json")
    assert (place / "summary.json").read_text() == "old"
    assert left_in(place) == {"summary.json", "filler"}


SMALL = ("model=mobilenet_v3_small", "transfer=head", "transfer.cache=false", "optimizer=sgd")


@pytest.mark.torture
def test_a_full_disk_at_checkpointing(
    disk: Disk, tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    """Two checkpoints fit, a third one beside them does not."""
    place = disk("15m")
    every = ("callbacks.last_checkpoint.every_s=0", "trainer.max_epochs=4", "optimizer.lr=1e-2")
    ended = run_train(*tiny, *SMALL, *every, "hydra.run.dir=disk/run")
    assert ended.status == 1, ended.out
    assert "No space left on device" in ended.err
    assert 1 <= len(ended.err.strip().splitlines()) <= 3, ended.err
    checkpoints = place / "run" / "checkpoints"
    assert {p.name for p in checkpoints.iterdir()} <= {"best.ckpt", "last.ckpt"}
    epoch = load_checkpoint(checkpoints / "last.ckpt").epoch
    assert 1 <= epoch < 4
    mount("-o", "remount,size=200m", str(place))
    ended = run_train("resume=disk/run")
    assert ended.status == 0, ended.err
    assert run_train(*tiny, *SMALL, *every, "hydra.run.dir=whole").status == 0
    for file in ("metrics.csv", "predictions.csv"):
        assert (place / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.torture
def test_a_disk_that_fills_up_while_it_logs(
    disk: Disk,
    run_train: Callable[..., Ended],
    start_train: Callable[..., Process],
    tiny: list[str],
    tmp_path: Path,
) -> None:
    place = disk("100m")
    process = start_train(*tiny, *SMALL, "trainer.max_epochs=400", "hydra.run.dir=disk/run")
    metrics = place / "run" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    filler = fill(place)
    process.join(timeout=60)
    assert process.exitcode == 1
    error = (tmp_path / "err.txt").read_text()
    assert "No space left on device" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 3, error
    assert not [name for name in left_in(place) if Path(name).name.startswith(".")]
    epoch = load_checkpoint(place / "run" / "checkpoints" / "last.ckpt").epoch
    filler.unlink()
    ended = run_train("resume=disk/run", f"trainer.max_epochs={epoch + 1}")
    assert ended.status == 0, ended.err


def test_read_only_folders(
    disk: Disk,
    loopback: Loopback,  # noqa: F811
    tmp_path: Path,
    run_train: Callable[..., Ended],
    tiny: list[str],
) -> None:
    loopback.content = os.urandom(1000)
    place = disk("1m")
    mount("-o", "remount,ro", str(place))
    with pytest.raises(DownloadError, match="Read-only file system"):
        download(loopback.url, place / "cache" / "file")
    with pytest.raises(RequestError, match=r"Read-only file system.*choose|Choose"):
        cached(place / "features", {}, 1, lambda: [torch.zeros(1, 1)])
    ended = run_train(*tiny, f"hydra.run.dir={place}/run")
    assert ended.status == 2
    assert "Read-only file system" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert left_in(place) == set()


def test_a_run_folder_that_vanishes(
    tmp_path: Path, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    process = start_train(*tiny, *SMALL, "trainer.max_epochs=400", "hydra.run.dir=run")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    process.join(timeout=60)
    assert process.exitcode == 1
    error = (tmp_path / "err.txt").read_text()
    assert "No such file or directory" in error
    assert "run/" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 3
    load_checkpoint(tmp_path / "elsewhere" / "checkpoints" / "last.ckpt")
