"""Splitting: a held-out test set, k folds, a validation part, each with its share of every class.

Where an image goes follows from `split_seed`, never from the run's seed: all runs of a sweep over
seeds are compared on the same images. Test set and folds follow from that seed and from the
images' names alone, whatever the folder's place and the files' order.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymenoptera.data.samples import Found, Samples
from hymenoptera.errors import ConfigError

Indices = NDArray[np.int64]


def divide(
    found: Found,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    folds: int | None = None,
    fold: int | None = None,
    split_seed: int = 0,
) -> list[Samples]:
    """Split the images of a source, as the options of `ImageDataModule` say.

    Their own validation split is used, if there is one and no folds. Shares are rounded.

    Returns:
        The images to train on, to validate on and to test on, the last of which may be none.

    Raises:
        ConfigError: a class has too few images, or there would be two test sets.
    """
    train, val, test, classes = found.train, found.val, found.test, found.classes
    if test_fraction and test is not None:
        raise ConfigError(
            f"data.test_fraction={test_fraction:g} asks for a test set, and {found.root or 'data'} "
            "has one of its own. Leave data.test_fraction at 0."
        )
    if test_fraction:
        train, test = _parts(train, _test_images(train, classes, test_fraction, split_seed))
    if folds is not None:
        train, val = _parts(train, _fold_images(train, classes, folds, fold, split_seed))
    elif val is None:
        train, val = _parts(train, _val_images(train, classes, val_fraction, split_seed))
    return [train, val, train.select([]) if test is None else test]


def fewer(
    samples: Samples,
    classes: list[str],
    fraction: float = 1.0,
    per_class: int | None = None,
    split_seed: int = 0,
) -> tuple[Samples, Samples]:
    """A part of the training images, and the others: a smaller part lies in every larger one.

    Args:
        samples: the training images.
        classes: names by label.
        fraction: share of each class, rounded.
        per_class: how many of each class, in place of a share.
        split_seed: which they are.

    Raises:
        ConfigError: a class has too few images, or none would be left of it.
    """
    parts = []
    for name, of_class in _by_class(samples, classes, f"train {split_seed}"):
        count = round(len(of_class) * fraction) if per_class is None else per_class
        wanted = f"train_fraction={fraction:g}" if per_class is None else f"train_per_class={count}"
        if not 0 < count <= len(of_class):
            raise ConfigError(
                f"data.{wanted} takes {count} of the {len(of_class)} training images of {name}: "
                f"of each class it takes one at the least and all at the most."
            )
        parts.append(of_class[:count])
    chosen = np.sort(np.concatenate(parts))
    return samples.select(chosen), samples.select(np.delete(np.arange(len(samples)), chosen))


def _parts(samples: Samples, held_out: Iterator[Indices]) -> tuple[Samples, Samples]:
    """The other images, and those that are held out of each class."""
    is_held_out = np.zeros(len(samples), bool)
    is_held_out[np.concatenate(list(held_out))] = True
    return samples.select(np.flatnonzero(~is_held_out)), samples.select(np.flatnonzero(is_held_out))


def _test_images(
    samples: Samples, classes: list[str], fraction: float, seed: int
) -> Iterator[Indices]:
    for name, of_class in _by_class(samples, classes, f"test {seed}"):
        count = round(len(of_class) * fraction)
        if not 0 < count < len(of_class):
            raise ConfigError(
                f"data.test_fraction={fraction:g} takes {count} of the {len(of_class)} training "
                f"images of {name}: each class needs one to test and one to train on."
            )
        yield of_class[:count]


def _fold_images(
    samples: Samples, classes: list[str], folds: int, fold: int | None, seed: int
) -> Iterator[Indices]:
    """In each class, and in all, folds differ by one image at the most."""
    dealt = 0
    for name, of_class in _by_class(samples, classes, f"fold {seed}"):
        if len(of_class) < folds:
            raise ConfigError(
                f"data.folds={folds}: there are {len(of_class)} images of {name} to split, and "
                "each fold needs one."
            )
        # a class begins with the fold after the one that the class before it ended with
        yield of_class[(dealt + np.arange(len(of_class))) % folds == fold]
        dealt += len(of_class)


def _val_images(
    samples: Samples, classes: list[str], fraction: float, seed: int
) -> Iterator[Indices]:
    generator = random.Random(seed)
    for name, of_class in _by_class(samples, classes):
        if len(of_class) < 2:
            raise ConfigError(
                f"The class {name} has a single image: it needs two, to train and to validate on."
            )
        count = min(max(1, round(len(of_class) * fraction)), len(of_class) - 1)
        yield of_class[generator.sample(range(len(of_class)), count)]


def _by_class(
    samples: Samples, classes: list[str], salt: str | None = None
) -> Iterator[tuple[str, Indices]]:
    """Each class with its indices; with a salt, in an order that it and the names determine."""

    def digest(index: Any) -> bytes:
        return hashlib.sha256(f"{salt}\n{samples.name(index)}".encode()).digest()

    for label, name in enumerate(classes):
        of_class = np.flatnonzero(samples.labels == label)
        yield name, of_class if salt is None else np.array(sorted(of_class, key=digest))
