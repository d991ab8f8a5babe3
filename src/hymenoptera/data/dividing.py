"""A table's pictures divided into training, validation and test: as `folders.index_folder` does."""

import random
from pathlib import Path

import numpy as np

from hymenoptera.data.folders import Index, no_pictures, refuse_strange, single_picture
from hymenoptera.data.splits import NOTHING, Apart, fold_numbers, test_set
from hymenoptera.data.table import Rows, Samples, Table


def divide(
    root: Path, table: Table, *, val_fraction: float, seed: int, apart: Apart = NOTHING
) -> Index:
    """Divide a table's pictures; the same ones go where they go from a folder with the same files.

    Args:
        root: the data set's folder.
        table: of the pictures below it.
        val_fraction: as of `index_folder`, and likewise the others.
        seed: which pictures validate.
        apart: a test set and folds.

    Raises:
        RequestError: as `index_folder`.
    """
    classes: list[str] = table.facts["classes"]
    whole = Samples(root, table, np.arange(len(table)))
    parts = rows_by_part(table)
    train_part = "train" if "train" in parts else "."
    train, val_part = parts.pop(train_part), next(iter(parts), None)
    refuse_empty(root / train_part, table, train)
    train, test = _keep_apart(table, train, classes, apart)
    if apart.folds is not None:
        numbers = fold_numbers(*_named(table, train), classes, apart)
        folds = np.array(list(map(numbers.__getitem__, _named(table, train)[0])))
        train, val = train[folds != apart.fold], train[folds == apart.fold]
    elif val_part is None:
        train, val = _stratified(whole.of(train), val_fraction, seed)
    else:
        if (root / val_part).is_dir():  # of shards, that was seen to when they were made
            refuse_strange(root / val_part, root / train_part, classes)
        val = parts[val_part]
        if not len(val):
            raise no_pictures(root / val_part)
    ignored = [root / name for name in table.facts["ignored"]]
    return Index(root, classes, whole.of(train), whole.of(val), ignored, whole.of(test))


def rows_by_part(table: Table) -> dict[str, Rows]:
    """The rows of each part of a table: "train" and the name of the one that validates, or "."."""
    parts, start = {}, 0
    for name, count in table.facts["parts"]:
        parts[name] = np.arange(start, start + count)
        start += count
    return parts


def refuse_empty(folder: Path, table: Table, rows: Rows) -> None:
    """Refuse a training part that lacks pictures of a class.

    Raises:
        RequestError: naming the class's folder.
    """
    if not len(rows):
        raise no_pictures(folder)
    counts = np.bincount(table.labels[rows], minlength=len(table.facts["classes"]))
    if not counts.all():
        raise no_pictures(folder / table.facts["classes"][int(counts.argmin())])


def _named(table: Table, rows: Rows) -> tuple[list[str], list[int]]:
    return [table.name(row) for row in rows.tolist()], table.labels[rows].tolist()


def _keep_apart(table: Table, rows: Rows, classes: list[str], apart: Apart) -> tuple[Rows, Rows]:
    if not apart.test_fraction:
        return rows, rows[:0]
    names, labels = _named(table, rows)
    chosen = test_set(names, labels, classes, apart)
    tests = np.fromiter((name in chosen for name in names), bool, len(names))
    return rows[~tests], rows[tests]


def _stratified(samples: Samples, val_fraction: float, seed: int) -> tuple[Rows, Rows]:
    """As `folders.stratified_split`, which asks the same generator for as many of as many."""
    generator = random.Random(seed)
    labels = samples.table.labels[samples.rows]
    held_out = np.zeros(len(samples), bool)
    order = np.argsort(labels, kind="stable")
    for of_class in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        count = len(of_class)
        if count < 2:
            raise single_picture(samples[int(of_class[0])])
        taken = min(max(1, round(count * val_fraction)), count - 1)
        held_out[of_class[generator.sample(range(count), taken)]] = True
    return samples.rows[~held_out], samples.rows[held_out]
