"""Folders of class folders: what is in them, and which part validates."""

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hymenoptera.data.manifest import PICTURE_SUFFIXES
from hymenoptera.data.splits import NOTHING, Apart, fold_numbers, test_set
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
        test: samples kept apart from training and validation, sorted by path.
    """

    root: Path
    classes: list[str]
    train: Sequence[Sample]
    val: Sequence[Sample]
    ignored: list[Path] = field(default_factory=list)
    test: Sequence[Sample] = field(default_factory=list)


def index_folder(root: Path, *, val_fraction: float, seed: int, apart: Apart = NOTHING) -> Index:
    """Find the pictures and classes below a folder.

    Args:
        root: holds class folders, or `train/` with `val/`, `valid/`, `validation/` or `test/`
            of them.
        val_fraction: share of each class that validates where there is no such part.
        seed: which pictures those are.
        apart: a test set and folds, of the training pictures.

    Raises:
        RequestError: no such folder, no pictures, fewer than two classes, a class folder of the
            validation part that the training part lacks, or a class too small to be split.
    """
    train_folder, val_folder, classes = parts_of(root)
    samples, ignored = find_samples(train_folder, classes)
    counts = Counter(s.label for s in samples)
    if not samples:
        raise no_pictures(train_folder)
    for label, name in enumerate(classes):
        if not counts[label]:
            raise no_pictures(train_folder / name)
    train, test = _keep_apart(root, samples, classes, apart)
    if apart.folds is not None:
        numbers = fold_numbers(*_named(root, train), classes, apart)
        val = [s for s in train if numbers[_name(root, s)] == apart.fold]
        train = [s for s in train if numbers[_name(root, s)] != apart.fold]
    elif val_folder is None:
        train, val = stratified_split(train, val_fraction, seed)
    else:
        refuse_strange(val_folder, train_folder, classes)
        val, val_ignored = find_samples(val_folder, classes)
        if not val:
            raise no_pictures(val_folder)
        ignored += val_ignored
    return Index(root, classes, train, val, ignored, test)


def parts_of(root: Path) -> tuple[Path, Path | None, list[str]]:
    """The folder of a data set that trains, the one that validates if there is one, the classes.

    Raises:
        RequestError: no such folder, or fewer than two classes.
    """
    if not root.is_dir():
        raise RequestError(f"{root}: there is no such folder.")
    train_folder = root / "train" if (root / "train").is_dir() else root
    classes = _classes(train_folder)
    if train_folder == root:
        return root, None, classes
    return train_folder, validation_part(root), classes


def validation_part(root: Path) -> Path | None:
    """The folder of a data set that validates, if there is one."""
    return next((root / n for n in VALIDATION_NAMES if (root / n).is_dir()), None)


def refuse_strange(val_folder: Path, train_folder: Path, classes: list[str]) -> None:
    """Refuse a validation part with a class folder that the training part lacks.

    Raises:
        RequestError: naming the class.
    """
    strange = [name for name in subfolders(val_folder) if name not in classes]
    if strange:
        raise RequestError(
            f"{val_folder} has a class that {train_folder} lacks: {strange[0]}. "
            f"{nearest(strange[0], classes)}"
        )


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
            raise single_picture(of_class[0])
        count = min(max(1, round(len(of_class) * val_fraction)), len(of_class) - 1)
        held_out.update(generator.sample(of_class, count))
    train = [s for s in samples if s not in held_out]
    return train, [s for s in samples if s in held_out]


def _keep_apart(
    root: Path, samples: list[Sample], classes: list[str], apart: Apart
) -> tuple[list[Sample], list[Sample]]:
    chosen = test_set(*_named(root, samples), classes, apart)
    test = [s for s in samples if _name(root, s) in chosen]
    return [s for s in samples if _name(root, s) not in chosen], test


def _named(root: Path, samples: list[Sample]) -> tuple[list[str], list[int]]:
    return [_name(root, s) for s in samples], [s.label for s in samples]


def _name(root: Path, sample: Sample) -> str:
    return sample.path.relative_to(root).as_posix()


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, less hidden ones, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(folder: Path) -> list[str]:
    classes = subfolders(folder)
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
    """The pictures in a folder's class folders, sorted by path, and what else lies in them."""
    samples: list[Sample] = []
    ignored: list[Path] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue  # a class that the validation part does not have
        for path, is_picture in walk(str(folder / name)):
            if is_picture:
                samples.append(Sample(Path(path), label))
            else:
                ignored.append(Path(path))
    return samples, ignored


def walk(folder: str, folders: dict[str, int] | None = None) -> Iterator[tuple[str, bool]]:
    """The files below a folder, hidden ones left out, sorted by path; whether each is a picture.

    Links to files are followed, links to folders are not, so that none can lead in a circle.

    Args:
        folder: where to look.
        folders: is filled with the folders, and when each was last changed, in nanoseconds.

    Raises:
        RequestError: a name is not UTF-8, which manifests and records are.
    """
    special: dict[str, os.DirEntry[str]] = {}
    names: list[str] = []
    try:
        if folders is not None:
            folders[folder] = Path(folder).stat().st_mtime_ns
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                if not entry.is_file(follow_symlinks=False):
                    special[entry.name] = entry
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return  # what cannot be looked into is not there
    for name in sorted(names):
        found = special.get(name)
        path = os.path.join(folder, name)  # noqa: PTH118 # a Path takes ten times as long
        if found is not None and found.is_dir(follow_symlinks=False):
            yield from walk(path, folders)
        elif not name.startswith("."):
            _refuse_strange_bytes(path)
            # a link that leads nowhere or in a circle is a picture that cannot be read
            is_file = (
                found is None
                or Path(path).is_file()
                or (found.is_symlink() and not Path(path).exists())
            )
            yield path, is_file and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def _refuse_strange_bytes(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise RequestError(
            f"{shown}: this name is not UTF-8, as manifests and records are. Rename it."
        ) from None


def single_picture(sample: Sample) -> RequestError:
    """The error of a class that cannot be divided."""
    return RequestError(
        f"{sample.path.parent} holds a single picture: a class needs two, one to train on and one "
        f"to validate."
    )


def no_pictures(folder: Path) -> RequestError:
    """The error of a folder without pictures."""
    return RequestError(
        f"{folder} holds no pictures of a type that is read "
        f"({', '.join(sorted(s[1:] for s in PICTURE_SUFFIXES))})."
    )
