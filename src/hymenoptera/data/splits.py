"""Training pictures that are kept apart: a test set, and k folds, each with its share of a class.

Where a picture goes follows from the split's seed and from its path below the data set's folder:
the same on every machine, whatever the place of that folder and the order of its files.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from hymenoptera.errors import RequestError


@dataclass(frozen=True)
class Apart:
    """What is kept apart from the training pictures.

    Attributes:
        test_fraction: share of each class that is the test set, rounded; 0 for none.
        folds: into how many parts the others are divided; None for none.
        fold: which of them validates, from 0; the data set's own validation part is not looked at.
        seed: of both; not the run's, so that all runs of a sweep keep the same pictures apart.
    """

    test_fraction: float = 0.0
    folds: int | None = None
    fold: int | None = None
    seed: int = 0


NOTHING = Apart()


def test_set(
    names: Sequence[str], labels: Sequence[int], classes: Sequence[str], apart: Apart
) -> set[str]:
    """Choose the test set: of each class the share that was asked for.

    Args:
        names: the N pictures, by their paths below the data set's folder, with slashes.
        labels: of the N pictures, indices into the classes.
        classes: the C names, for errors.
        apart: the share and the seed.

    Raises:
        RequestError: the share of a class, rounded, is no picture or all of them.
    """
    chosen: set[str] = set()
    if not apart.test_fraction:
        return chosen
    for label, of_class in enumerate(_shuffled(names, labels, len(classes), f"test {apart.seed}")):
        count = round(len(of_class) * apart.test_fraction)
        if not 0 < count < len(of_class):
            raise RequestError(
                f"data.test_fraction={apart.test_fraction:g} takes {count} of the "
                f"{len(of_class)} training pictures of {classes[label]}: "
                f"each class needs one to test and one to train on."
            )
        chosen.update(of_class[:count])
    return chosen


def fold_numbers(
    names: Sequence[str], labels: Sequence[int], classes: Sequence[str], apart: Apart
) -> dict[str, int]:
    """Deal the pictures out to folds; in each class, and in all, folds differ by one at the most.

    Args:
        names: the N pictures, by their paths below the data set's folder, with slashes.
        labels: of the N pictures, indices into the classes.
        classes: the C names, for errors.
        apart: the number of folds and the seed.

    Returns:
        The fold of each name, from 0.

    Raises:
        RequestError: a class has fewer pictures than there are folds.
    """
    assert apart.folds is not None
    numbers: dict[str, int] = {}
    for label, of_class in enumerate(_shuffled(names, labels, len(classes), f"fold {apart.seed}")):
        if len(of_class) < apart.folds:
            raise RequestError(
                f"data.folds={apart.folds}: there are {len(of_class)} pictures of "
                f"{classes[label]} to divide, and each fold needs one."
            )
        for name in of_class:  # a class begins where the one before it ended
            numbers[name] = len(numbers) % apart.folds
    return numbers


def _shuffled(
    names: Sequence[str], labels: Sequence[int], count: int, salt: str
) -> list[list[str]]:
    """The names by label, each class in an order that its names and the salt alone determine."""

    def digest(name: str) -> bytes:
        return hashlib.sha256(f"{salt}\n{name}".encode(errors="surrogateescape")).digest()

    by_label: list[list[str]] = [[] for _ in range(count)]
    for name, label in zip(names, labels, strict=True):
        by_label[label].append(name)
    return [sorted(of_class, key=digest) for of_class in by_label]
