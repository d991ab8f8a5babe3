"""Shards hold what the folder held, in an order that any number of processes can go through."""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Ended, tiny_overrides, write_pictures
from hymenoptera.data.folders import index_folder
from hymenoptera.data.order import EpochSampler
from hymenoptera.data.pictures import read_picture
from hymenoptera.data.sharding import make_shards
from hymenoptera.data.shards import shards_in
from hymenoptera.data.splits import Apart
from hymenoptera.data.stream import StreamDataModule
from hymenoptera.errors import RequestError, RunError

pytest.importorskip("webdataset", reason="needs the extra: pip install -e '.[stream]'")

Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def shards(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pictures in shards of five or six."""
    out = tmp_path_factory.mktemp("shards") / "out"
    make_shards(pictures, out, shard_bytes=40_000)
    return out


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards to do harm to."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def module(root: Path | str, folder: Path, **options: Any) -> StreamDataModule:
    options = {"cache_gb": 1, "shards_at_once": 2, "num_workers": 0} | options
    return StreamDataModule(root=str(root), folder=str(folder), **options)


@pytest.mark.parametrize(
    "apart", [Apart(), Apart(0.25, folds=2, fold=1)], ids=["plain", "test_set_and_folds"]
)
@pytest.mark.parametrize("part", ["", "train"])
def test_they_hold_what_the_folder_does_and_are_divided_as_it_is(
    pictures: Path, tmp_path: Path, part: str, apart: Apart
) -> None:
    root = pictures / part
    made = make_shards(root, tmp_path / "out", shard_bytes=40_000)
    assert len(made["shards"]) > 3
    parts: dict[str, Any] = {key: getattr(apart, key) for key in ("test_fraction", "folds", "fold")}
    data = module(tmp_path / "out", tmp_path / "f", **parts)
    data.setup()
    index = index_folder(root, val_fraction=0.2, seed=0, apart=apart)
    for name in ("train", "val", "test"):
        ours = [(s.path.relative_to(tmp_path / "out"), s.label) for s in getattr(data.index, name)]
        theirs = [(s.path.relative_to(root), s.label) for s in getattr(index, name)]
        assert ours == theirs
    found = shards_in(tmp_path / "out")
    assert found is not None
    for row in range(len(found.table)):
        assert found.read(row) == (root / found.table.name(row)).read_bytes()
    sample = data.index.val[1]
    assert not sample.path.exists()
    assert read_picture(sample.path).tobytes() == read_picture(index.val[1].path).tobytes()


def test_webdataset_reads_them(shards: Path, pictures: Path) -> None:
    import webdataset

    files = sorted(map(str, shards.glob("*.tar")))
    read = list(webdataset.WebDataset(files, shardshuffle=False))
    assert len(read) == 36
    for sample in read:
        said = json.loads(sample["json"])
        assert sample["png"] == (pictures / said["path"]).read_bytes()
        assert Path(said["path"]).parent.name == ("ash", "birch", "cedar")[said["label"]]


def test_the_same_pictures_make_the_same_bytes(
    shards: Path, pictures: Path, tmp_path: Path
) -> None:
    make_shards(pictures, tmp_path / "again", shard_bytes=40_000)
    for path in shards.rglob("*.*"):
        assert (tmp_path / "again" / path.relative_to(shards)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_an_epoch_goes_through_some_shards_at_a_time(at_once: int) -> None:
    shards = torch.arange(60) % 12
    sampler = EpochSampler(60, seed=3, shuffle=True)
    plain = list(sampler)
    sampler.go_by(shards, at_once)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert sorted(d.sample for d in draws) == list(range(60))
        assert len({d.seed for d in draws}) == 60
        order = shards[[d.sample for d in draws]].tolist()
        size = 5 * at_once
        turns = [set(order[i : i + size]) for i in range(0, 60, size)]
        assert all(len(turn) == min(at_once, 12) for turn in turns)
        epochs.append(order)
    assert epochs[0] != epochs[1] != epochs[2]
    sampler.set_epoch(0)
    assert (list(sampler) == plain) == (at_once > 12)  # few shards change nothing
    half = EpochSampler(60, 3, True, None, 2, skip=24)
    half.go_by(shards, at_once)
    sampler.set_epoch(2)
    assert list(half) == list(sampler)[24:]
    half.set_epoch(3)
    assert len(list(half)) == len(half) == 60


def overrides(shards: Path | str, *more: str) -> list[str]:
    tiny = [o for o in tiny_overrides(Path()) if not o.startswith(("data=", "data.root="))]
    return ["data=stream", f"data.root={shards}", *tiny, *more]


def test_the_command_trains_the_same_from_shards(
    tmp_path: Path, run_train: Run, shards: Path, finished_run: Path
) -> None:
    """Also where they are fetched from elsewhere, by another process."""
    off = [f"callbacks.{name}.enabled=false" for name in ("grad_cam", "embeddings", "model_graph")]
    for name, root, more in (
        ("disk", shards, ["data.num_workers=0"]),
        ("afar", f"local://{shards}", ["data.num_workers=1", *off, "report=false"]),
    ):
        ended = run_train(*overrides(root), f"hydra.run.dir={name}", *more)
        assert ended.status == 0, ended.err
        for file in ("metrics.csv", "predictions.csv"):
            assert (tmp_path / name / file).read_bytes() == (finished_run / file).read_bytes()
        ours, theirs = (
            json.loads((run / "summary.json").read_text())["data"]["manifest_hash"]
            for run in (tmp_path / name, finished_run)
        )
        assert ours == theirs
    assert list((tmp_path / "data" / "shards").glob("*/cache/*.tar"))
    assert "data:image" in (tmp_path / "disk" / "report.html").read_text()
    assert list((tmp_path / "disk" / "pictures" / "grad_cam").rglob("*.jpg"))


def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_there(
    tmp_path: Path,
    run_train: Run,
    start_train: Callable[..., Any],
    shards: Path,
) -> None:
    command = overrides(shards, "data.shards_at_once=2", "data.batch_size=2")
    command += ["callbacks.last_checkpoint.within_epoch_s=0", "report=false"]
    process = start_train(*command, "hydra.run.dir=killed")
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "metrics.csv").exists(), "the first epoch was over"
    ended = run_train("resume=killed")
    assert ended.status == 0, ended.err
    assert "going on in epoch 1, after batch " in ended.out
    assert "not resumable" not in ended.err
    whole = [*command, "callbacks.last_checkpoint.within_epoch_s=null", "hydra.run.dir=whole"]
    assert run_train(*whole).status == 0
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def harmed(copy: Path, harm: str) -> str:
    """Do harm to shards; the name of what an error must name."""
    victim = sorted(copy.glob("train-*.tar"))[1]
    match harm:
        case "missing":
            victim.unlink()
        case "cut short":
            victim.write_bytes(victim.read_bytes()[:-512])
        case "one bit":
            data = bytearray(victim.read_bytes())
            data[len(data) // 2] ^= 1
            victim.write_bytes(data)
        case "index":
            victim = copy / "index" / "labels.npy"
            victim.write_bytes(victim.read_bytes()[:-1] + b"\7")
        case "index missing":
            victim = copy / "index" / "places.npy"
            victim.unlink()
        case "description":
            victim = copy / "shards.json"
            victim.write_text(victim.read_text()[:200])
        case "names outside" | "no such place":
            path = copy / "index" / ("names.npy" if harm == "names outside" else "places.npy")
            array = np.load(path)
            if harm == "names outside":
                array[:3] = list(b"../")
            else:
                array[-1, 1] += 1 << 40
            np.save(path, array)
            victim = copy / "shards.json"  # whoever wrote them, wrote what they are
            said = json.loads(victim.read_text())
            said["index"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            victim.write_text(json.dumps(said))
            victim = copy / "index"
        case "no description":
            victim = copy / "shards.json"
            victim.unlink()
        case "outside":
            victim = copy / "shards.json"
            victim.write_text(victim.read_text().replace('"train-', '"../train-'))
    return victim.name


HARMS = ("missing", "cut short", "one bit", "index", "index missing")
HARMS += ("description", "no description", "outside", "names outside", "no such place")


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_named_before_training(copy: Path, tmp_path: Path, harm: str) -> None:
    module(copy, tmp_path / "f").setup()
    name = harmed(copy, harm)
    with pytest.raises(RequestError) as error:
        module(copy, tmp_path / "f").setup()
    assert name in str(error.value)
    assert len(str(error.value).splitlines()) <= 3
    with pytest.raises((RequestError, RunError)):
        data = module(f"local://{copy}", tmp_path / "g")
        data.setup()
        for sample in data.index.train:
            read_picture(sample.path)


def test_shards_found_whole_are_not_read_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hymenoptera.data import stream

    read: list[Path] = []
    digest = stream.file_sha256
    monkeypatch.setattr(stream, "file_sha256", lambda p: read.append(p) or digest(p))
    for again in (False, True):
        module(copy, tmp_path / "f").setup()
        assert bool(read) is not again
        read.clear()


def rows_of(url: str, folder: Path) -> list[bytes]:
    """What shards elsewhere hold, read through copies that are kept in a folder."""
    data = module(url, folder)
    data.setup()
    found = shards_in(data.index.root)
    assert found is not None and found.origin is not None
    return [found.read(row) for row in range(len(found.table))]


def test_shards_made_again_at_their_address_are_fetched_again(copy: Path, tmp_path: Path) -> None:
    before = rows_of(f"local://{copy}", tmp_path / "f")
    root = write_pictures(tmp_path / "x", {"train": {"elm": 9, "fir": 9}, "val": {"elm": 1}})
    shutil.rmtree(copy)
    make_shards(root, copy, shard_bytes=40_000)
    names = sorted(p.relative_to(root) for p in root.rglob("*.png"))
    found = rows_of(f"local://{copy}", tmp_path / "f")
    assert found == [(root / name).read_bytes() for name in names] != before


def test_what_is_damaged_afar_is_not_kept(copy: Path, tmp_path: Path) -> None:
    harmed(copy, "one bit")
    with pytest.raises(RunError, match="is damaged"):
        rows_of(f"local://{copy}", tmp_path / "f")
    for path in (tmp_path / "f").glob("*/cache/*"):
        assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.tar"


@pytest.mark.parametrize("times", [3, 10_000])
def test_a_fetched_shard_that_goes_before_it_is_read_is_fetched_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    from hymenoptera.data import shards

    mapped, gone = shards._mapped, []

    def goes(path: Path) -> Any:
        if len(gone) < times:
            gone.append(path)
            path.unlink()
        return mapped(path)

    monkeypatch.setattr(shards, "_mapped", goes)
    if times == 3:
        assert len(rows_of(f"local://{copy}", tmp_path / "f")) == 36
    else:
        with pytest.raises(RunError, match=r"a larger data\.cache_gb"):
            rows_of(f"local://{copy}", tmp_path / "f")


def test_bad_requests_of_the_command(
    copy: Path, tmp_path: Path, run_train: Run, hymenoptera: Run, pictures: Path
) -> None:
    name = harmed(copy, "missing")
    ended = run_train(*overrides(copy))
    assert (ended.status, len(ended.err.strip().splitlines())) == (2, 1)
    assert f"The shard {copy / name} is missing. Get it again" in ended.err
    assert not (tmp_path / "runs").exists()
    for root, words in (
        (pictures, "is no folder of shards, it has no shards.json"),
        ("none", "there is no such folder"),
        ("file:///none/at/all", "there is no such folder"),
        ("local:///none/at/all", "the shards there cannot be read"),
        ("nonsense://bucket/x", "the shards there cannot be read"),
    ):
        ended = run_train(*overrides(copy, f"data.root={root}"))
        assert (ended.status, words in ended.err) == (2, True), ended.err
        assert len(ended.err.strip().splitlines()) <= 3
    root = write_pictures(tmp_path / "x", {"": {"ash": 2, "birch": 2}})
    for arguments, words in (
        ((str(root), str(copy)), "is there already"),
        ((str(tmp_path / "none"), "out"), "there is no such folder"),
        ((str(root / "ash"), "out"), "has no class folders"),
        ((str(root), "no/out"), "there is no folder no"),
        ((str(root), "out", "--shard-mb", "0"), "0.001"),
    ):
        ended = hymenoptera("shard", *arguments)
        assert (ended.status, words in ended.err) == (2, True), ended.err
        assert not (tmp_path / "out").exists()
    (root / "ash" / "000.png").write_bytes(b"no picture")
    for path in shutil.copytree(root, tmp_path / "none_good").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(RequestError, match="none of its 4 pictures can be read"):
        make_shards(tmp_path / "none_good", tmp_path / "out", 1000, skip=True)
    ended = hymenoptera("shard", str(root), "out")
    assert ended.status == 2
    assert "ash/000.png (it is of no format" in ended.err and "--on-error skip" in ended.err
    assert not [p for p in tmp_path.iterdir() if "out" in p.name and p.name != "out.txt"]
    ended = hymenoptera("shard", str(root), "out", "--on-error", "skip")
    assert (ended.status, "3 pictures in 2 classes, 1 shards" in ended.out) == (0, True), ended
    assert "1 unreadable left out" in ended.out


def test_without_the_extra(tmp_path: Path, pictures: Path, monkeypatch: Any, shards: Path) -> None:
    import sys

    from hymenoptera.conflicts import check_extra

    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(RequestError, match=r"pip install -e '.\[stream\]'"):
        make_shards(pictures, tmp_path / "out", 1000)
    with pytest.raises(RequestError, match=r"data=stream needs .* pip install -e '.\[stream\]'"):
        check_extra({"shards_at_once": 1})
