"""`hymenoptera predict`: from paths to rows and a gallery, however many pictures there are."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from hymenoptera.atomic import new_file
from hymenoptera.gallery import Gallery
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.predictor import Prediction, Predictor
from hymenoptera.results.rows import Format, written


def predict_paths(
    predictor: Predictor,
    pictures: Iterable[str],
    *,
    form: Format,
    top_k: int,
    output: Path | None = None,
    gallery: Path | None = None,
    grad_cam: bool = False,
) -> bool:
    """Classify pictures and write a row for each as they come.

    Args:
        predictor: the classifier.
        pictures: paths.
        form: how rows are written.
        top_k: how many classes a row has.
        output: the file that the rows go to; None for stdout.
        gallery: a page to write beside, with each picture.
        grad_cam: whether the gallery shows heat beside each picture.

    Returns:
        Whether all pictures could be read.
    """
    whole = True
    shown = output is None and sys.stdout.isatty()  # then the rows themselves are the progress
    with ExitStack() as stack:
        file = stack.enter_context(new_file(output)) if output is not None else None
        page = None
        if gallery is not None:
            heat = GradCam(predictor.checkpoint.classifier) if grad_cam else None
            page = stack.enter_context(Gallery(gallery, predictor.checkpoint, heat))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of pictures that it reads all the same
        total = len(pictures) if isinstance(pictures, list) else None
        bar = stack.enter_context(
            tqdm(total=total, unit="picture", leave=False, disable=shown or None)
        )

        def rows() -> Iterator[Prediction]:
            nonlocal whole
            for batch in predictor.batches(pictures):
                if page is not None:
                    page.add(batch)
                whole = whole and all(p.error is None for p in batch.predictions)
                yield from batch.predictions
                bar.update(len(batch.predictions))

        for text in written(rows(), form, predictor.classes, top_k):
            _put(text, file)
    return whole


def _put(text: str, file: BinaryIO | None) -> None:
    if file is None:
        print(text, end="", flush=True)  # noqa: T201
    else:
        file.write(text.encode(errors="backslashreplace"))  # a path may be any bytes
