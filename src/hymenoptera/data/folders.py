"""Folders of class folders: what is in them, and which part validates."""

import random
from dataclasses import dataclass, field
from pathlib import Path

from hymenoptera.data.manifest import PICTURE_SUFFIXES
from hymenoptera.errors import RequestError, nearest

VALIDATION_NAMES = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Sample:
    """A picture's file and its label, an index into the class names."""

    path: Path
    label: int


@dataclass(frozen=True)
class Index:
    """What a data set holds.

    Attributes:
        root: the folder that record's paths are relative to.
        classes: names by label, in alphabetical order.
        train: samples to train on, sorted by path.
        val: samples to validate on, sorted by path.
        ignored: files in class folders that are not of a picture type.
    """

    root: Path
    classes: list[str]
    train: list[Sample]
    val: list[Sample]
    ignored: list[Path] = field(default_factory=list)


def index_folder(root: Path, *, val_fraction: float, seed: int) -> Index:
    """Find the pictures and classes below a folder.

    Args:
        root: holds class folders, or `train/` with `val/`, `valid/`, `validation/` or `test/`
            of them.
        val_fraction: share of each class that validates where there is no such part.
        seed: which pictures those are.

    Raises:
        RequestError: no such folder, no pictures, fewer than two classes, a class folder of the
            validation part that the training part lacks, or a class too small to be split.
    """
    if not root.is_dir():
        raise RequestError(f"{root}: there is no such folder.")
    train_folder = root / "train"
    if not train_folder.is_dir():
        return _split_folder(root, val_fraction, seed)
    val_folder = next((root / n for n in VALIDATION_NAMES if (root / n).is_dir()), None)
    if val_folder is None:
        index = _split_folder(train_folder, val_fraction, seed)
        return Index(root, index.classes, index.train, index.val, index.ignored)
    classes = _classes(train_folder)
    strange = [name for name in _subfolders(val_folder) if name not in classes]
    if strange:
        raise RequestError(
            f"{val_folder} has a class that {train_folder} lacks: {strange[0]}. "
            f"{nearest(strange[0], classes)}"
        )
    train, train_ignored = find_samples(train_folder, classes)
    val, val_ignored = find_samples(val_folder, classes)
    for folder, samples in ((train_folder, train), (val_folder, val)):
        if not samples:
            raise _no_pictures(folder)
    empty = sorted(set(range(len(classes))) - {s.label for s in train})
    if empty:
        raise _no_pictures(train_folder / classes[empty[0]])
    return Index(root, classes, train, val, train_ignored + val_ignored)


def stratified_split(
    samples: list[Sample], val_fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of each class, rounded, at least one picture and never all.

    Returns:
        The samples to train on and those to validate on, each in the order given.

    Raises:
        RequestError: a class has a single picture.
    """
    generator = random.Random(seed)
    held_out: set[Sample] = set()
    for label in sorted({s.label for s in samples}):
        of_class = [s for s in samples if s.label == label]
        if len(of_class) < 2:
            raise RequestError(
                f"{of_class[0].path.parent} holds a single picture: a class needs two, one to "
                f"train on and one to validate."
            )
        count = min(max(1, round(len(of_class) * val_fraction)), len(of_class) - 1)
        held_out.update(generator.sample(of_class, count))
    train = [s for s in samples if s not in held_out]
    return train, [s for s in samples if s in held_out]


def _split_folder(folder: Path, val_fraction: float, seed: int) -> Index:
    classes = _classes(folder)
    samples, ignored = find_samples(folder, classes)
    if not samples:
        raise _no_pictures(folder)
    empty = sorted(set(range(len(classes))) - {s.label for s in samples})
    if empty:
        raise _no_pictures(folder / classes[empty[0]])
    train, val = stratified_split(samples, val_fraction, seed)
    return Index(folder, classes, train, val, ignored)


def _subfolders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(folder: Path) -> list[str]:
    classes = _subfolders(folder)
    if not classes:
        raise RequestError(
            f"{folder} has no class folders: it must hold one folder of pictures for each class."
        )
    if len(classes) == 1:
        raise RequestError(
            f"{folder} has one class only ({classes[0]}): a classifier needs two or more."
        )
    return classes


def find_samples(folder: Path, classes: list[str]) -> tuple[list[Sample], list[Path]]:
    """The pictures in a folder's class folders, sorted by path, and the files of other types."""
    samples: list[Sample] = []
    ignored: list[Path] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue  # a class that the validation part does not have
        for path in sorted((folder / name).rglob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.suffix.lower() in PICTURE_SUFFIXES:
                samples.append(Sample(path, label))
            else:
                ignored.append(path)
    return samples, ignored


def _no_pictures(folder: Path) -> RequestError:
    return RequestError(
        f"{folder} holds no pictures of a type that is read "
        f"({', '.join(sorted(s[1:] for s in PICTURE_SUFFIXES))})."
    )
