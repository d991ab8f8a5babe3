"""`hymenoptera suggest`: which of many unlabelled images to label first.

Those whose two most probable classes are closest. benchmarks/suggest.py compares this with a
random choice and with rules that spread the choice over the features.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from hymenoptera.cli.near_duplicates import Hashes, hashes_of, near_duplicates
from hymenoptera.cli.predicting import add_to_gallery
from hymenoptera.cli.training_images import TrainingImages
from hymenoptera.data.preprocessing import as_images
from hymenoptera.models import Prediction, Predictor
from hymenoptera.reports.gallery import Gallery
from hymenoptera.reports.tables import format_table

Row = dict[str, Any]
FIRST, UNFAMILIAR = "label first", "unfamiliar"


def suggest_images(predictor: Predictor, paths: list[str], count: int) -> list[Row]:
    """Rank unlabelled images.

    Returns:
        A row each, with `what`, `path`, `class`, `probability`, `margin` (between the two most
        probable classes) and `familiarity`: the `count` images to label first, the closest margin
        first; those that are unlike the training images, the least familiar first; near-duplicates,
        of which one stays; and what cannot be read. Of the latter two `what` says more.
    """
    found, unreadable, hashes = list[Prediction](), list[Row](), list[Hashes]()
    for batch in predictor.batches(tqdm(paths, unit="image", leave=False, disable=None)):
        shown = as_images(predictor.classifier.preprocessing.denormalise(batch.images))
        hashes += map(hashes_of, shown)
        found += [one for one in batch.predictions if one.error is None]
        unreadable += [_row(p, f"unreadable: {p.error}") for p in batch.predictions if p.error]
    same = {second: first for first, second, _ in near_duplicates(hashes)}
    rows = [
        _row(one, UNFAMILIAR if one.is_familiar is False else FIRST)
        for i, one in enumerate(found)
        if i not in same
    ]
    first = sorted((r for r in rows if r["what"] == FIRST), key=lambda r: r["margin"])[:count]
    apart = sorted((r for r in rows if r["what"] != FIRST), key=lambda r: r["familiarity"])
    twins = [_row(found[i], f"near-duplicate of {found[j].path}") for i, j in same.items()]
    return [*first, *apart, *twins, *unreadable]


def _row(one: Prediction, what: str) -> Row:
    highest, second, *_ = [*one.probabilities.values(), 0.0, 0.0]
    about = {"what": what, "path": one.path, "class": one.label, "probability": highest}
    return about | {"margin": highest - second, "familiarity": one.familiarity}


def write_gallery(path: Path, rows: list[Row], predictor: Predictor) -> None:
    """Write a page of the images to label first, and of those that are unfamiliar."""
    paths = [row["path"] for row in rows if row["what"] in (FIRST, UNFAMILIAR)]
    near = "familiar" in predictor.says
    training_images = TrainingImages(predictor.metadata)
    with Gallery(path, "What to label first", near=near) as page:
        for batch in predictor.batches(paths):
            add_to_gallery(page, batch, predictor, training_images)


def as_table(rows: list[Row]) -> str:
    """The rows as lines of text."""
    cells = [[f"{100 * r['margin']:.1f} %", r["class"], r["what"], r["path"]] for r in rows]
    return format_table([["margin", "class", "", "image"], *cells])
