"""The test set and the folds: what is kept apart, and what that follows from."""

import random
from collections import Counter
from pathlib import Path

import pytest

from conftest import write_pictures
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.data.folders import index_folder
from hymenoptera.data.splits import Apart, fold_numbers, test_set
from hymenoptera.errors import RequestError

test_set.__test__ = False  # type: ignore[attr-defined] # not one of pytest's


def data_set(counts: list[int]) -> tuple[list[str], list[int], list[str]]:
    """Names, labels and classes, so many pictures of each class."""
    named = [(f"train/{c}/{i}.jpg", c) for c, count in enumerate(counts) for i in range(count)]
    return [n for n, _ in named], [c for _, c in named], [f"class {c}" for c in range(len(counts))]


@pytest.mark.parametrize("counts", [[123, 121], [5, 5, 5], [7, 40, 12, 6], [300, 5]])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_partition_and_are_stratified_within_one(counts: list[int], folds: int) -> None:
    names, labels, classes = data_set(counts)
    numbers = fold_numbers(names, labels, classes, Apart(folds=folds, seed=3))
    assert set(numbers) == set(names)  # each picture in one fold
    assert set(numbers.values()) == set(range(folds))
    sizes = Counter(numbers.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label, count in enumerate(counts):
        of_class = Counter(numbers[n] for n, c in zip(names, labels, strict=True) if c == label)
        assert {of_class[fold] for fold in range(folds)} <= {count // folds, -(-count // folds)}


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_a_test_set_is_stratified_within_one(fraction: float) -> None:
    names, labels, classes = data_set([123, 121, 10])
    chosen = test_set(names, labels, classes, Apart(fraction))
    for label, count in enumerate([123, 121, 10]):
        taken = sum(c == label for n, c in zip(names, labels, strict=True) if n in chosen)
        assert abs(taken - fraction * count) <= 0.5


def test_a_split_follows_from_names_and_seed_alone() -> None:
    """Not from the order of the files; these very pictures, on every machine and Python."""
    names, labels, classes = data_set([6, 6])
    apart = Apart(test_fraction=0.34, folds=3, seed=1)
    chosen = test_set(names, labels, classes, apart)
    numbers = fold_numbers(names, labels, classes, apart)
    assert chosen == {"train/0/1.jpg", "train/0/4.jpg", "train/1/2.jpg", "train/1/5.jpg"}
    assert [numbers[name] for name in names] == [1, 2, 0, 0, 1, 2, 0, 1, 0, 2, 2, 1]
    mixed = list(zip(names, labels, strict=True))
    random.Random(0).shuffle(mixed)
    names, labels = [n for n, _ in mixed], [c for _, c in mixed]
    assert test_set(names, labels, classes, apart) == chosen
    assert fold_numbers(names, labels, classes, apart) == numbers
    assert test_set(names, labels, classes, Apart(test_fraction=0.34, seed=2)) != chosen


def test_the_place_of_the_folder_makes_no_difference(tmp_path: Path) -> None:
    parts = {"train": {"ash": 10, "birch": 12}, "val": {"ash": 2, "birch": 2}}
    apart = Apart(test_fraction=0.2, folds=3, fold=1)
    here, there = (
        index_folder(
            write_pictures(tmp_path / place, parts), val_fraction=0.2, seed=seed, apart=apart
        )
        for seed, place in enumerate(("here", "far/away/there"))
    )
    for part in ("train", "val", "test"):
        names = [
            [str(s.path.relative_to(index.root)) for s in getattr(index, part)]
            for index in (here, there)
        ]
        assert names[0] == names[1]  # nor does the run's seed


@pytest.mark.parametrize("own", [True, False])
def test_folds_are_of_the_training_pictures_without_the_test_set(tmp_path: Path, own: bool) -> None:
    """Whether or not the folder has a validation part, which is not looked at."""
    trees = {"ash": 11, "birch": 14}
    root = write_pictures(tmp_path / "x", {"train": trees} if own else {"": trees})
    if own:
        (root / "val" / "no such class").mkdir(parents=True)
    whole = set(root.rglob("*.png"))
    seen: list[Path] = []
    tests = set()
    for fold in range(4):
        apart = Apart(test_fraction=0.2, folds=4, fold=fold)
        index = index_folder(root, val_fraction=0.2, seed=fold, apart=apart)
        train, val, test = ({s.path for s in part} for part in (index.train, index.val, index.test))
        assert not train & val and not train & test and not val & test
        assert train | val | test == whole
        assert {s.label for s in index.val} == {0, 1}
        seen += val
        tests.add(frozenset(test))
    assert len(tests) == 1
    assert set(seen) == whole - next(iter(tests))
    assert len(seen) == len(set(seen))


def test_a_test_set_leaves_the_validation_part_alone(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "x", {"train": {"a": 10, "b": 10}, "val": {"a": 3, "b": 3}})
    plain = index_folder(root, val_fraction=0.2, seed=0)
    index = index_folder(root, val_fraction=0.2, seed=0, apart=Apart(test_fraction=0.2))
    assert index.val == plain.val
    assert sorted(index.train + index.test, key=str) == plain.train
    assert Counter(s.label for s in index.test) == {0: 2, 1: 2}


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (Apart(test_fraction=0.01), "takes 0 of the 10 training pictures of ash"),
        (Apart(test_fraction=0.99), "takes 10 of the 10 training pictures of ash"),
        (Apart(folds=11, fold=0), "there are 10 pictures of ash"),
        (Apart(test_fraction=0.5, folds=6, fold=0), "there are 5 pictures of ash"),
    ],
)
def test_a_share_that_leaves_a_class_empty_is_refused(
    tmp_path: Path, apart: Apart, words: str
) -> None:
    root = write_pictures(tmp_path / "x", {"train": {"ash": 10, "birch": 200}, "val": {"ash": 1}})
    with pytest.raises(RequestError, match=words):
        index_folder(root, val_fraction=0.2, seed=0, apart=apart)


def test_the_record_says_what_is_kept_apart(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "x", {"": {"ash": 10, "birch": 20}})
    data = ImageFolderDataModule(root=str(root), test_fraction=0.2, folds=4, fold=3, split_seed=5)
    data.setup()
    facts = data.facts()
    assert facts["apart"] == {"test_fraction": 0.2, "folds": 4, "fold": 3, "seed": 5}
    assert (facts["train_count"], facts["val_count"], facts["test_count"]) == (18, 6, 6)
    assert facts["test_count_by_class"] == {"ash": 2, "birch": 4}
    assert len(facts["test_manifest_hash"]) == 64


def test_the_record_knows_parts_of_the_same_pictures_apart(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "x", {"": {"ash": 10, "birch": 20}})
    facts = []
    for map_from in (None, 1):  # a list, and an index that is mapped
        for fold in (0, 1):
            options = {"folds": 4, "fold": fold, "index_folder": str(tmp_path / "index")}
            data = ImageFolderDataModule(root=str(root), map_from=map_from, **options)
            data.setup()
            facts.append(data.facts())
    first, second, *mapped = ((f["manifest_hash"], f["val_manifest_hash"]) for f in facts)
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert mapped == [first, second]
