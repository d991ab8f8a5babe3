"""The held-out test set, the folds and the validation part: what they follow from."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import write_images
from hymenoptera.data import ImageFolderDataModule
from hymenoptera.data.samples import FileSamples, Found, Samples
from hymenoptera.data.splits import divide
from hymenoptera.errors import ConfigError


def found(counts: list[int], shuffled: bool = False) -> Found:
    """So many images of each class."""
    named = [(f"train/{c}/{i}.jpg", c) for c, count in enumerate(counts) for i in range(count)]
    if shuffled:
        random.Random(0).shuffle(named)
    names, labels = zip(*named, strict=True)
    classes = [f"class {c}" for c in range(len(counts))]
    return Found(Path("x"), classes, FileSamples(Path("x"), names, labels))


def names(samples: Samples) -> set[str]:
    return set(samples.names.tolist())


@pytest.mark.parametrize("counts", [[123, 121], [7, 40, 12, 6]])
@pytest.mark.parametrize("folds", [2, 5])
def test_folds_partition_and_are_stratified_within_one(counts: list[int], folds: int) -> None:
    everything = found(counts)
    parts = [divide(everything, folds=folds, fold=k, split_seed=3)[1] for k in range(folds)]
    seen = [name for part in parts for name in part.names]
    assert sorted(seen) == sorted(everything.train.names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for label, count in enumerate(counts):
        sizes = {int((part.labels == label).sum()) for part in parts}
        assert sizes <= {count // folds, -(-count // folds)}


@pytest.mark.parametrize("fraction", [0.1, 0.8])
def test_test_set_and_validation_are_stratified(fraction: float) -> None:
    counts = np.array([123, 121, 10])
    test = divide(found(list(counts)), test_fraction=fraction)[2]
    val = divide(found(list(counts)), val_fraction=fraction)[1]
    for part in (test, val):
        assert (np.abs(np.bincount(part.labels) - fraction * counts) <= 0.5).all()


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_validation_leaves_each_class_on_both_sides(fraction: float) -> None:
    everything = found([2, 3, 4])
    train, val, test = divide(everything, val_fraction=fraction)
    assert set(train.labels) == set(val.labels) == {0, 1, 2}
    assert names(train) | names(val) == names(everything.train)
    assert not names(train) & names(val)
    assert len(test) == 0


def test_a_split_follows_from_names_and_seed_alone() -> None:
    """Not from the order of the files; these very images, on every machine and Python."""
    options = {"test_fraction": 0.34, "folds": 3, "fold": 0}
    _, val, test = divide(found([6, 6]), **options, split_seed=1)
    assert names(test) == {"train/0/1.jpg", "train/0/4.jpg", "train/1/2.jpg", "train/1/5.jpg"}
    mixed = divide(found([6, 6], shuffled=True), **options, split_seed=1)
    assert (names(mixed[1]), names(mixed[2])) == (names(val), names(test))
    assert names(divide(found([6, 6]), **options, split_seed=2)[2]) != names(test)


def test_the_validation_part_does_not_follow_the_runs_seed(tmp_path: Path) -> None:
    """Fault 17: a sweep over seeds compares accuracies on the same images."""
    root = write_images(tmp_path / "x", {"": {"ash": 20, "birch": 10}})
    hashes = {}
    for seed, split_seed in ((0, 0), (1, 0), (0, 1)):
        datamodule = ImageFolderDataModule(root=str(root), seed=seed, split_seed=split_seed)
        datamodule.setup()
        hashes[seed, split_seed] = datamodule.summary()["val_manifest_hash"]
    assert hashes[0, 0] == hashes[1, 0]
    assert hashes[0, 0] != hashes[0, 1]


@pytest.mark.parametrize("own", [True, False])
def test_folds_are_of_the_training_images_without_the_test_set(tmp_path: Path, own: bool) -> None:
    """Whether or not the folder has a validation part, which is not used."""
    trees = {"ash": 11, "birch": 14}
    root = write_images(tmp_path / "x", {"train": trees} if own else {"": trees})
    whole = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    if own:
        write_images(root, {"val": {"ash": 2, "birch": 2}})
    seen: Counter[str] = Counter()
    tests = set()
    for fold in range(4):
        datamodule = ImageFolderDataModule(root=str(root), test_fraction=0.2, folds=4, fold=fold)
        datamodule.setup()
        train, val, test = map(names, (datamodule.train, datamodule.val, datamodule.test))
        assert train | val | test == whole
        assert len(train) + len(val) + len(test) == len(whole)
        seen.update(val)
        tests.add(frozenset(test))
        split = datamodule.summary()["split"]
        assert (split["folds"], split["fold"], split["test_fraction"]) == (4, fold, 0.2)
    assert len(tests) == 1
    assert set(seen) == whole - next(iter(tests))
    assert set(seen.values()) == {1}


def test_a_test_set_leaves_the_validation_part_alone(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": {"a": 10, "b": 10}, "val": {"a": 3, "b": 3}})
    plain, other = (
        ImageFolderDataModule(root=str(root), test_fraction=fraction) for fraction in (0, 0.2)
    )
    plain.setup()
    other.setup()
    assert names(other.val) == names(plain.val)
    assert names(other.train) | names(other.test) == names(plain.train)
    write_images(root, {"test": {"a": 1, "b": 1}})
    with pytest.raises(ConfigError, match="has one of its own"):
        ImageFolderDataModule(root=str(root), test_fraction=0.2).setup()
    other.write_test_manifest(tmp_path / "test_set.tsv")
    assert len((tmp_path / "test_set.tsv").read_text().splitlines()) == len(other.test) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test_fraction": 0.01}, "takes 0 of the 10 training images of class 0"),
        ({"test_fraction": 0.99}, "takes 10 of the 10 training images of class 0"),
        ({"folds": 11, "fold": 0}, "there are 10 images of class 0"),
        ({"test_fraction": 0.5, "folds": 6, "fold": 0}, "there are 5 images of class 0"),
    ],
)
def test_a_share_that_leaves_a_class_empty_is_invalid(
    options: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        divide(found([10, 200]), **options)
