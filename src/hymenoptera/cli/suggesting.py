"""`hymenoptera suggest`: which of many unlabelled images to label first.

Those whose two most probable classes are closest. benchmarks/suggest.py compares this with a
random choice and with rules that spread the choice over the features.
"""

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hymenoptera.cli.application import show_result
from hymenoptera.cli.near_duplicates import Hashes, hashes_of, near_duplicates
from hymenoptera.cli.predicting import add_to_gallery
from hymenoptera.cli.training_images import TrainingImages
from hymenoptera.data.preprocessing import as_images
from hymenoptera.files import write_file
from hymenoptera.models import Prediction, Predictor
from hymenoptera.reports.gallery import Gallery

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
    found, hashes, unreadable = list[Prediction](), list[Hashes](), list[Row]()
    with tqdm(total=len(paths), unit="image", leave=False, disable=None) as bar:
        for batch in predictor.batches(paths):
            shown = as_images(predictor.classifier.preprocessing.denormalise(batch.images))
            hashes += [hashes_of(image) for image in shown]
            for one in batch.predictions:
                if one.error is None:
                    found.append(one)
                else:
                    unreadable.append({"what": f"unreadable: {one.error}", "path": one.path})
            bar.update(len(batch.predictions))
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
    highest, second, *_ = [*one.probabilities.values(), 0.0]
    return {
        "what": what,
        "path": one.path,
        "class": one.label,
        "probability": highest,
        "margin": highest - second,
        "familiarity": one.familiarity,
    }


def write_suggestions(
    rows: list[Row],
    predictor: Predictor,
    output: Path | None,
    gallery: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write the rows as CSV into a file, the first two kinds as a page, and a table or JSON."""
    if output is not None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_file(output, text.getvalue().encode(errors="backslashreplace"))
    shown = [row for row in rows if row["what"] in (FIRST, UNFAMILIAR)]
    if gallery is not None:
        heading = f"To label first, of {len(rows)} images"
        training_images = TrainingImages(predictor.metadata)
        with Gallery(gallery, heading, near="familiar" in predictor.says) as page:
            for batch in predictor.batches([row["path"] for row in shown]):
                add_to_gallery(page, batch, predictor, training_images)
    if as_json:
        show_result(rows)
        return
    lines = [
        f"{row['what']:<11}  {100 * row['margin']:5.1f} %  {row['class']:<12}  {row['path']}"
        for row in shown
    ]
    show_result("\n".join([f"{'':<11}   margin  {'class':<12}  image", *lines]))
    rest = Counter(row["what"].split()[0].rstrip(":") for row in rows[len(shown) :])
    for kind, count in rest.items():
        print(f"{count} {kind}: --json or --output has them", file=sys.stderr)  # noqa: T201
