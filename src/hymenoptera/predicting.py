"""`hymenoptera predict`: from paths to rows and a gallery, however many pictures there are."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from glob import has_magic, iglob
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from hymenoptera.atomic import new_file
from hymenoptera.errors import RequestError
from hymenoptera.gallery import Gallery
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.predictor import Prediction, Predictor
from hymenoptera.results.rows import Format, written


def predict_paths(
    predictor: Predictor,
    names: list[str],
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
        names: files, folders and globs; "-" stands for the paths on stdin, one a line.
        form: how rows are written.
        top_k: how many classes a row has.
        output: the file that the rows go to; None for stdout.
        gallery: a page to write beside, with each picture.
        grad_cam: whether the gallery shows heat beside each picture.

    Returns:
        Whether all pictures could be read.

    Raises:
        RequestError: there are no pictures.
    """
    pictures: Iterable[str] = find_pictures(names)
    if "-" not in names:
        pictures = list(pictures)
        if not pictures:
            raise RequestError(f"{', '.join(names)}: there are no pictures in it.")
    unread: list[str] = []
    with ExitStack() as stack:
        file = stack.enter_context(new_file(output)) if output is not None else None
        page = None
        if gallery is not None:
            heat = GradCam(predictor.checkpoint.classifier) if grad_cam else None
            page = stack.enter_context(Gallery(gallery, predictor.checkpoint, heat))
        for text in written(
            _rows(predictor, pictures, page, unread), form, predictor.classes, top_k
        ):
            _put(text, file)
    return not unread


def find_pictures(names: Iterable[str]) -> Iterator[str]:
    """The files that names on the command line stand for.

    Args:
        names: a file stands for itself, also one that is not there; a folder for the files below
            it whose suffix is of a format that Pillow reads; a pattern for the files that match;
            "-" for the lines on stdin.
    """
    suffixes = {
        suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN
    }
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif path.is_dir():
            below = sorted(path.rglob("*"))
            yield from (str(p) for p in below if p.suffix.lower() in suffixes and p.is_file())
        elif has_magic(name) and not path.exists():
            found = sorted(iglob(str(path), recursive=True))  # noqa: PTH207 # from any folder
            yield from (file for file in found if Path(file).is_file())
        else:
            yield str(path)


def real_images(predictor: Predictor, folder: Path | None, count: int = 8) -> Tensor:
    """Some pictures from all over a folder, as the network sees them.

    Args:
        predictor: whose preprocessing is used.
        folder: at any depth of it; None for the pictures of the run.
        count: how many at the most.

    Returns:
        (N, 3, H, W) float32, normalised, N >= 2.

    Raises:
        RequestError: there are fewer than two pictures.
    """
    place = folder or Path(predictor.checkpoint.facts.get("data", {}).get("root", "nowhere"))
    paths = list(find_pictures([str(place)])) if place.is_dir() else []
    chosen = paths[:: max(1, len(paths) // count)][:count]
    images = torch.cat([batch.images for batch in predictor.batches(chosen)] or [torch.empty(0)])
    if len(images) < 2:
        raise RequestError(
            f"{place}: there are no pictures to compare the file on. Name a folder of some with "
            f"--compare-on FOLDER."
        )
    return images


def _rows(
    predictor: Predictor, pictures: Iterable[str], page: Gallery | None, unread: list[str]
) -> Iterator[Prediction]:
    total = len(pictures) if isinstance(pictures, list) else None
    with tqdm(total=total, unit="picture", leave=False, disable=None) as bar:
        for batch in predictor.batches(pictures):
            if page is not None:
                page.add(batch)
            unread += [p.name for p in batch.predictions if p.error is not None]
            yield from batch.predictions
            bar.update(len(batch.predictions))


def _put(text: str, file: BinaryIO | None) -> None:
    if file is None:
        print(text, end="", flush=True)  # noqa: T201
    else:
        file.write(text.encode())
