"""Folders of class folders, and the stratified split."""

from collections import Counter
from pathlib import Path

import pytest

from conftest import write_pictures
from hymenoptera.data.folders import Sample, index_folder, stratified_split

TREES = {"ash": 5, "birch": 3}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_a_validation_part_goes_by_four_names(tmp_path: Path, name: str) -> None:
    root = write_pictures(tmp_path / "x", {"train": TREES, name: {"ash": 2, "birch": 1}})
    (root / "train" / "ash" / "notes.txt").write_text("mine")
    (root / "train" / "ash" / "moving.gif").write_bytes(b"GIF89a")
    index = index_folder(root, val_fraction=0.2, seed=0)
    assert index.classes == ["ash", "birch"]
    assert Counter(s.label for s in index.train) == {0: 5, 1: 3}
    assert Counter(s.label for s in index.val) == {0: 2, 1: 1}
    assert [p.name for p in index.ignored] == ["moving.gif", "notes.txt"]
    assert all(s.path.parent.name == index.classes[s.label] for s in index.train + index.val)


@pytest.mark.parametrize("part", ["", "train"])
def test_one_folder_is_split_by_class_under_the_seed(tmp_path: Path, part: str) -> None:
    root = write_pictures(tmp_path / "x", {part: {"ash": 20, "birch": 10}})
    index = index_folder(root, val_fraction=0.2, seed=0)
    assert Counter(s.label for s in index.val) == {0: 4, 1: 2}
    assert not set(index.train) & set(index.val)
    assert len(index.train + index.val) == 30
    assert index_folder(root, val_fraction=0.2, seed=0) == index
    assert index_folder(root, val_fraction=0.2, seed=1).val != index.val


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_a_split_leaves_each_class_on_both_sides(fraction: float) -> None:
    samples = [Sample(Path(f"{label}/{i}"), label) for label in range(3) for i in range(2 + label)]
    train, val = stratified_split(samples, fraction, seed=0)
    assert {s.label for s in train} == {s.label for s in val} == {0, 1, 2}
    assert sorted(train + val, key=str) == sorted(samples, key=str)
