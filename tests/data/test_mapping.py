"""The kept index of a large folder says what the folder does, and notices what changes in it."""

import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_pictures
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.data.dividing import divide
from hymenoptera.data.folders import Index, index_folder
from hymenoptera.data.inspection import inspect
from hymenoptera.data.manifest import manifest_hash, read_manifest, write_manifest
from hymenoptera.data.mapping import mapped_table
from hymenoptera.data.order import EpochSampler
from hymenoptera.data.splits import Apart
from hymenoptera.data.table import (
    Samples,
    positions,
    read_table,
    together,
    without,
    write_table,
)
from hymenoptera.errors import RequestError
from hymenoptera.ranks.sharing import samples_hash

TREES = {"ash": 7, "birch": 6, "b.irch": 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With folders in class folders, names in an order of their own, files of other types."""
    root = write_pictures(tmp_path / "x", {"train": TREES, "test": {"ash": 2, "birch": 1}})
    deep = root / "train" / "ash" / "a"
    deep.mkdir()
    for number, name in enumerate(("z.PNG", "ä.png", "a b.png", ".hidden.png", "notes.txt")):
        deep.joinpath(name).write_bytes((root / f"train/ash/00{number}.png").read_bytes())
    (root / "train" / "ash" / "a.png").symlink_to(root / "train" / "birch" / "000.png")
    return root


def both(root: Path, folder: Path, **split: Any) -> tuple[Index, Index]:
    table, _ = mapped_table(root, folder, contents=True)
    return index_folder(root, **split), divide(root, table, **split)


@pytest.mark.parametrize(
    "apart",
    [Apart(), Apart(test_fraction=0.3, seed=2), Apart(0.2, folds=3, fold=1)],
    ids=["plain", "test_set", "folds"],
)
@pytest.mark.parametrize("part", ["", "train"])
def test_the_same_pictures_go_to_the_same_parts(
    root: Path, tmp_path: Path, part: str, apart: Apart
) -> None:
    if not part:  # without a part that validates
        root = root / "train"
    plain, mapped = both(root, tmp_path / "i", val_fraction=0.3, seed=4, apart=apart)
    assert isinstance(mapped.train, Samples)
    for name in ("train", "val", "test"):
        assert list(getattr(mapped, name)) == list(getattr(plain, name))
    assert (mapped.classes, mapped.ignored) == (plain.classes, plain.ignored)
    everything = together(plain.train, plain.val)
    assert list(together(mapped.train, mapped.val)) == everything
    assert positions(mapped.val, together(mapped.train, mapped.val)) == positions(
        plain.val, everything
    )
    some = [sample.path for sample in everything[::3]]
    assert list(without(mapped.train, some)) == without(plain.train, some)


def modules(root: Path, tmp_path: Path, **options: Any) -> list[ImageFolderDataModule]:
    found = []
    for map_from in (None, 1):
        data = ImageFolderDataModule(
            root=str(root), map_from=map_from, index_folder=str(tmp_path / "i"), **options
        )
        data.setup()
        found.append(data)
    return found


def test_the_record_is_that_of_a_list(root: Path, tmp_path: Path) -> None:
    (root / "train/ash/003.png").write_bytes(b"no picture")
    plain, mapped = modules(root, tmp_path, on_error="skip", test_fraction=0.2)
    facts = mapped.facts()
    assert facts.pop("index")["contents"]
    assert facts == {key: value for key, value in plain.facts().items() if key != "index"}
    assert list(facts["skipped_pictures"]) == ["train/ash/003.png"]
    assert mapped.test_manifest() == plain.test_manifest()


def test_processes_compare_their_pictures_without_making_each(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, mapped = modules(root, tmp_path)
    (other, _) = modules(root, tmp_path, folds=2, fold=0)
    monkeypatch.delattr(Samples, "__getitem__")
    assert samples_hash(mapped) == samples_hash(plain)
    assert samples_hash(mapped) != samples_hash(other)


def look(root: Path, tmp_path: Path, contents: bool = True) -> tuple[int, str]:
    table, how = mapped_table(root, tmp_path / "i", contents)
    return how["read"], table.manifest_hash(np.arange(len(table)))


def test_only_what_changed_is_read_again(root: Path, tmp_path: Path) -> None:
    count, first = look(root, tmp_path)
    assert count == sum(TREES.values()) + 3 + 4
    assert look(root, tmp_path) == (0, first)
    changed = root / "train/ash/001.png"
    changed.write_bytes((root / "train/ash/002.png").read_bytes())
    assert look(root, tmp_path)[0] == 1
    added = root / "train/birch/new.png"
    added.write_bytes(changed.read_bytes())
    assert look(root, tmp_path)[0] == 1
    added.unlink()
    read, last = look(root, tmp_path)
    assert (read, last != first) == (0, True)
    (root / "train/ash/005.png").rename(root / "train/ash/6.png")
    assert look(root, tmp_path)[0] == 1
    (root / "train/elm").mkdir()
    with pytest.raises(RequestError, match=r"elm holds no pictures"):
        divide(root, mapped_table(root, tmp_path / "i", True)[0], val_fraction=0.2, seed=0)


def test_a_folder_is_the_same_through_a_link(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    read, first = look(link, tmp_path)
    assert read
    (index,) = (tmp_path / "i").iterdir()
    made = index.stat().st_ino
    assert look(root, tmp_path) == look(link, tmp_path) == (0, first)
    assert index.stat().st_ino == made, "made again by turns"


def test_a_test_set_is_known_by_its_content_although_the_index_is_not(
    root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test_set.tsv"
    plain, mapped = modules(root, tmp_path, contents=False, test_fraction=0.2)
    write_manifest(path, mapped.test_manifest())
    assert read_manifest(path) == plain.test_manifest()
    assert mapped.facts()["test_manifest_hash"] == manifest_hash(read_manifest(path))


@pytest.mark.parametrize("name", [b"../../etc/x.png", b"/etc/x.png", b"a/../../b.png", b"\xe4.png"])
def test_a_table_that_names_files_elsewhere_is_no_table(tmp_path: Path, name: bytes) -> None:
    for names, good in (([b"a../..b/x.png", b"c.png"], True), ([b"a.png", name], False)):
        folder = tmp_path / str(good)
        folder.mkdir()
        columns = dict.fromkeys(("labels", "sizes", "mtimes"), np.zeros(2, np.int64))
        write_table(folder, {}, names, **columns, sha256=np.zeros((2, 32), np.uint8))
    assert read_table(tmp_path / "True").name(0) == "a../..b/x.png"
    with pytest.raises(ValueError, match=r"name|utf-8"):
        read_table(tmp_path / "False")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"caf\xe9.txt"])
def test_a_name_that_is_not_utf8_is_refused(root: Path, tmp_path: Path, name: bytes) -> None:
    folder = os.fsencode(root / "train" / "ash")
    with open(os.path.join(folder, name), "wb"):  # noqa: PTH118, PTH123
        pass
    for read in (
        lambda: index_folder(root, val_fraction=0.2, seed=0),
        lambda: mapped_table(root, tmp_path / "i", contents=True),
        lambda: inspect(root),
    ):
        with pytest.raises(RequestError, match=r"train/ash/caf\\xe9\.\w+: .*Rename it"):
            read()
    assert not (tmp_path / "i").exists()


def test_a_picture_that_was_mended_is_seen_although_its_size_and_time_are_the_same(
    root: Path, tmp_path: Path
) -> None:
    path = root / "train/ash/001.png"
    good, times = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(good)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    table, _ = mapped_table(root, tmp_path / "i", True)
    assert list(table.facts["faults"].values())
    path.write_bytes(good)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look(root, tmp_path)[0] == 1
    assert not mapped_table(root, tmp_path / "i", True)[0].facts["faults"]


def test_without_contents_sizes_and_times_identify_the_pictures(root: Path, tmp_path: Path) -> None:
    read, first = look(root, tmp_path, contents=False)
    assert (read, look(root, tmp_path, contents=False)) == (0, (0, first))
    os.utime(root / "train/ash/001.png", ns=(1, 1))
    assert look(root, tmp_path, contents=False)[1] != first
    assert look(root, tmp_path)[0] > 20  # a table without contents is of no use to one with them


@pytest.mark.parametrize("harm", ["cut", "lost", "nonsense"])
def test_a_table_that_is_damaged_is_made_again(root: Path, tmp_path: Path, harm: str) -> None:
    read, first = look(root, tmp_path)
    ends = next((tmp_path / "i").glob("*/ends.npy"))
    match harm:
        case "cut":
            ends.write_bytes(ends.read_bytes()[:-8])
        case "lost":
            ends.unlink()
        case "nonsense":
            ends.with_name("index.json").write_text("{")
    assert look(root, tmp_path) == (read, first)
    assert not list((tmp_path / "i").glob(".*"))


def test_another_process_maps_the_files_and_does_not_copy_them(root: Path, tmp_path: Path) -> None:
    table, _ = mapped_table(root, tmp_path / "i", True)
    sent = pickle.dumps(table)
    assert len(sent) < 500
    assert pickle.loads(sent).name(3) == table.name(3)
    assert isinstance(pickle.loads(sent).sha256, np.memmap)


def test_an_epoch_of_a_million_draws_makes_no_million_objects() -> None:
    sampler = EpochSampler(1_000_000, seed=0, shuffle=True)
    tracemalloc.start()
    draws = sampler.draws()
    assert sum(1 for _, _ in zip(draws, range(10_000), strict=False)) == 10_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4e6
    assert draws[7:9] == [draws[7], draws[8]]


def test_the_command_trains_the_same_from_a_mapped_index(
    tmp_path: Path, run_train: Any, tiny: list[str], finished_run: Path
) -> None:
    off = [f"callbacks.{name}.enabled=false" for name in ("grad_cam", "embeddings", "model_graph")]
    for name, words in (
        ("first", "36 files read in"),
        ("second", "kept, compared with the folder in"),
    ):
        ended = run_train(*tiny, "data.map_from=1", f"hydra.run.dir={name}", *off, "report=false")
        assert (ended.status, words in ended.out) == (0, True), ended.err
        for file in ("metrics.csv", "predictions.csv"):
            assert (tmp_path / name / file).read_bytes() == (finished_run / file).read_bytes()


def test_bad_requests(run_train: Any, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run_train(*tiny, "data.map_from=1", "data.index_folder=file")
    assert ended.status == 2
    assert "data.index_folder=file: the index of" in ended.err
    assert "Choose another folder" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert run_train(*tiny, "data.map_from=0").status == 2
