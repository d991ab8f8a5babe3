"""Disks and networks that fail: a line that says where, and nothing half-written."""

import hashlib
import random
import shutil
import subprocess
from contextlib import suppress

import pytest
import torch

from hymenoptera.data import sources
from hymenoptera.data.features import cached
from hymenoptera.data.manifest import Entry, differences
from hymenoptera.data.sources import fetch
from hymenoptera.errors import ConfigError
from hymenoptera.files import write_file
from hymenoptera.models.checkpoint import describe_checkpoint
from loopback import zip_bytes

IMAGES = {f"train/ants/{n}.jpg": random.Random(n).randbytes(4000) for n in range(20)}
MANIFEST = {k: Entry(len(v), hashlib.sha256(v).hexdigest()) for k, v in IMAGES.items()}
CONTENT = zip_bytes(IMAGES)
HEAD = ("transfer=head", "transfer.cache=false", "optimizer=sgd")


def mount(*arguments):
    command = [shutil.which("mount") or "false", *arguments]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """Mounts a small disk of its own; skips where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()

    def make(size):
        if not mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
            pytest.skip("needs the right to mount a small disk")
        return place

    yield make
    subprocess.run(["umount", "-l", str(place)], capture_output=True)


def fill(folder):
    """Write until the disk is full."""
    path = folder / "filler"
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    return path


def left_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def in_lines(error):
    assert "Traceback" not in error
    assert 1 <= len(error.strip().splitlines()) <= 3, error
    return error


def fails(url, folder):
    """Why the data set cannot be had; nothing is left of it."""
    with pytest.raises(ConfigError) as raised:
        fetch(url, folder, MANIFEST)
    assert not folder.exists()
    return in_lines(str(raised.value))


def test_a_download_cut_at_every_tenth_is_tried_again(loopback, tmp_path, monkeypatch, tried):
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)  # between two attempts
    loopback.content = CONTENT
    for tenth in range(10):
        loopback.cut = len(CONTENT) * tenth // 10
        assert not differences(fetch(loopback.url, tmp_path / str(tenth), MANIFEST), MANIFEST)
    tried(10)


def test_a_server_that_stops_or_answers_with_an_error(loopback, tmp_path, monkeypatch, tried):
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    monkeypatch.setattr(sources, "TIMEOUT_S", 0.5)
    loopback.content, loopback.pause_s = CONTENT, 60
    assert "Could not download" in fails(loopback.url, tmp_path / "data")
    for loopback.status in (403, 429, 500, 503):
        assert f"answers {loopback.status}" in fails(loopback.url, tmp_path / "data")
    tried(5)


@pytest.mark.parametrize("size", ["40k", "120k"])  # less than the archive, and than both
def test_a_full_disk_at_download_and_at_unpacking(disk, loopback, size):
    loopback.content, place = CONTENT, disk(size)
    assert "No space left on device" in fails(loopback.url, place / "data")
    mount("-o", "remount,size=2m", str(place))
    assert not differences(fetch(loopback.url, place / "data", MANIFEST), MANIFEST)


def test_a_full_disk_at_caching_and_at_an_older_file(disk):
    place = disk("200k")
    rows = [torch.rand(16, 1000) for _ in range(10)]
    with pytest.raises(ConfigError, match=r"features cannot be kept there \(No space left"):
        cached(place / "features", {}, 160, lambda: rows)
    assert left_in(place) == set()
    assert torch.equal(cached(place / "features", {}, 16, lambda: rows[:1])[0], rows[0])
    write_file(place / "summary.json", "old")
    before = left_in(place)
    filler = fill(place)
    with pytest.raises(OSError, match="No space left"):
        write_file(place / "summary.json", "new" * 10_000)
    assert (place / "summary.json").read_text() == "old"
    assert left_in(place) == before | {filler.name}


@pytest.mark.torture
def test_a_full_disk_at_checkpointing(disk, tmp_path, run_train, small):
    """Two checkpoints fit, a third one beside them does not."""
    place = disk("15m")
    every = ("callbacks.last_checkpoint.every_s=0", "trainer.max_epochs=4", "optimizer.lr=1e-2")
    command = (*small, *HEAD, *every, "report=false")
    ended = run_train(*command, "hydra.run.dir=disk/run")
    assert ended.status == 1, ended.out
    assert "No space left on device" in in_lines(ended.err)
    checkpoints = place / "run" / "checkpoints"
    assert {p.name for p in checkpoints.iterdir()} <= {"best.ckpt", "last.ckpt"}
    assert 1 <= describe_checkpoint(checkpoints / "last.ckpt")["epoch"] < 4
    mount("-o", "remount,size=200m", str(place))
    for options in (("resume=disk/run",), (*command, "hydra.run.dir=whole")):
        ended = run_train(*options)
        assert ended.status == 0, ended.err
    for file in ("metrics.csv", "predictions.csv"):
        assert (place / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.torture
def test_read_only_folders(disk, run_train, small, tried):
    place = disk("1m")
    mount("-o", "remount,ro", str(place))
    head = ("transfer=head", f"transfer.cache_folder={place}/features")
    drawn = ("data=drawn", f"data.folder={place}/images", "model.weights=none")
    for options in ((*small, *head), drawn, (*small, f"hydra.run.dir={place}/run")):
        ended = run_train(*options)
        assert ended.status == 2, ended.err
        assert "Read-only file system" in in_lines(ended.err)
    assert left_in(place) == set()
    tried(3)
