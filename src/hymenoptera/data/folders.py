"""Folders of class folders: which are splits, which are classes, which files are images."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hymenoptera.data.images import IMAGE_SUFFIXES, is_hidden
from hymenoptera.data.samples import FileSamples, Found
from hymenoptera.errors import ConfigError, nearest

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""The usual spellings of the parts of a data set, in lower case."""


def find_folder(root: Path) -> Found:
    """Find classes and images: of class folders, or of `train/`, `val/` and `test/` of them.

    Raises:
        ConfigError: no such folder, no images, fewer than two classes, or a class folder of
            another split that the training split lacks.
    """
    folders = find_splits(root) or {"train": root}
    train = folders["train"]
    classes = class_folders(train)
    if len(classes) < 2:
        has = f"one class only ({classes[0]})" if classes else "no class folders"
        raise ConfigError(
            f"{train} has {has}: it must hold a folder of images for each class, two or more."
        )
    ignored: Counter[str] = Counter()
    found: dict[str, FileSamples] = {}
    for split, folder in folders.items():
        for strange in class_folders(folder):
            if strange not in classes:
                hint = nearest(strange, classes)
                raise ConfigError(f"{folder} has a class that {train} lacks: {strange}. {hint}")
        found[split] = find_samples(root, folder, classes, ignored)
        counts = np.bincount(found[split].labels, minlength=len(classes))
        if not counts.any() or (split == "train" and not counts.all()):
            empty = folder / classes[int(counts.argmin())] if counts.any() else folder
            types = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise ConfigError(f"{empty} holds no images of a type that is read ({types}).")
    parts = (found["train"], found.get("val"), found.get("test"))
    return Found(root, classes, *parts, dict(sorted(ignored.items())))


def find_splits(root: Path) -> dict[str, Path]:
    """The folders of the splits, by "train", "val" and "test"; none where a data set is not split.

    A class may be called "train": such a folder is a split only where there is another one, or
    nothing else, or class folders in it.

    Raises:
        ConfigError: no such folder, a split in two spellings, or none of them to train on.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: there is no such folder.")
    folders = class_folders(root)
    splits: dict[str, Path] = {}
    for split, spellings in SPLIT_NAMES.items():
        names = [name for name in folders if name.lower() in spellings]
        if len(names) > 1:
            raise ConfigError(
                f"{root} has {'/ and '.join(names)}/, which may mean the same: merge them."
            )
        if names:
            splits[split] = root / names[0]
    if "train" not in splits:
        if splits and len(splits) == len(folders):
            raise ConfigError(f"{root} has {'/ and '.join(folders)}/, and no train/ to train on.")
        return {}
    is_class = len(splits) == 1 and len(folders) > 1 and len(class_folders(splits["train"])) < 2
    return {} if is_class else splits


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, less hidden ones, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name))


def find_samples(
    root: Path, folder: Path, classes: list[str], ignored: Counter[str]
) -> FileSamples:
    """The images in a folder's class folders, sorted by class and path; names begin at `root`.

    What else lies there is counted in `ignored`: by suffix, and "hidden".
    """
    names: list[str] = []
    labels: list[int] = []
    ignored.update("hidden" for path in folder.iterdir() if path.is_dir() and is_hidden(path.name))
    for label, name in enumerate(classes):
        names += _walk(folder / name, (folder / name).relative_to(root).as_posix(), ignored)
        labels += [label] * (len(names) - len(labels))
    try:
        return FileSamples(root, names, labels)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{error.object!a}: this name is not UTF-8. Rename it.") from None


def _walk(folder: Path, name: str, ignored: Counter[str]) -> Iterator[str]:
    """The names of the images below a folder, sorted; no link leads to another folder."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return  # what cannot be looked into is empty
    for entry in found:
        suffix = _suffix(entry.name)
        if is_hidden(entry.name):
            ignored["hidden"] += 1
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{name}/{entry.name}", ignored)
        elif suffix in IMAGE_SUFFIXES:
            yield f"{name}/{entry.name}"
        else:
            ignored[suffix or "no suffix"] += 1


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 # a Path takes ten times as long
