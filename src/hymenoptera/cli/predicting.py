"""`hymenoptera predict`: from paths to rows and a gallery, however many images there are."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from hymenoptera.cli.application import Format
from hymenoptera.cli.training_images import TrainingImages
from hymenoptera.data.preprocessing import as_images
from hymenoptera.files import new_file
from hymenoptera.models import Prediction, Predictor
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.models.predictor import Batch
from hymenoptera.reports.gallery import Gallery
from hymenoptera.reports.tables import format_names


def predict_paths(
    predictor: Predictor,
    paths: Iterable[str],
    form: Format,
    top_k: int,
    output: Path | None = None,
    gallery: Path | None = None,
    *,
    grad_cam: bool = False,
) -> bool:
    """Classify images and write a row for each as they come, to stdout or to a file.

    Returns:
        Whether all images could be read.
    """
    all_read = True
    total = len(paths) if isinstance(paths, list) else None
    with ExitStack() as stack:
        file = stack.enter_context(_text_file(output))
        heading = f"Predictions of a {predictor.classifier.hparams['backbone']}"
        page = None
        if gallery is not None:
            near = "familiar" in predictor.says
            page = stack.enter_context(Gallery(gallery, heading, grad_cam, near))
        explain = GradCam(predictor.classifier) if grad_cam else None
        training_images = TrainingImages(predictor.metadata)
        # rows on a terminal are the progress; None: hidden where stderr is no terminal
        hidden = (output is None and sys.stdout.isatty()) or None
        bar = stack.enter_context(tqdm(total=total, unit="image", leave=False, disable=hidden))

        def predictions() -> Iterator[Prediction]:
            nonlocal all_read
            for batch in predictor.batches(paths):
                if page is not None:
                    add_to_gallery(page, batch, predictor, training_images, explain)
                all_read = all_read and all(p.error is None for p in batch.predictions)
                yield from batch.predictions
                file.flush()
                bar.update(len(batch.predictions))

        write_rows(predictions(), form, predictor.classes, top_k, file, predictor.says)
    return all_read


@contextmanager
def _text_file(path: Path | None) -> Iterator[TextIO]:
    """A new file, or stdout; a path in a row may be any bytes."""
    if path is None:
        yield sys.stdout
        return
    with new_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        yield text
        text.detach()  # the file is closed by `new_file`


def add_to_gallery(
    page: Gallery,
    batch: Batch,
    predictor: Predictor,
    training_images: TrainingImages,
    explain: GradCam | None = None,
) -> None:
    """Write a tile for each image of a batch, with the nearest training images."""
    images = iter(as_images(predictor.classifier.preprocessing.denormalise(batch.images)))
    heat_maps = iter(explain(batch.images).numpy() if explain and len(batch.images) else ())
    for one in batch.predictions:
        shown = (None, None) if one.error else (next(images), next(heat_maps, None))
        notes = [f"unsure: {format_names(one.set or ()) or 'no class'}"] if one.is_unsure else []
        notes += ["unlike the training images"] if one.is_familiar is False else []
        near = training_images.shown(one.nearest)
        page.add(one.path, shown[0], one.probabilities, shown[1], one.error, notes, near)


def write_rows(
    rows: Iterable[Prediction],
    form: Format,
    classes: Sequence[str],
    top_k: int,
    file: TextIO,
    says: Sequence[str] = (),
) -> None:
    """Write predictions as they come, each with its `top_k` classes, and what else they say."""
    top_k = min(top_k, len(classes))
    rows = (replace(row, probabilities=dict([*row.probabilities.items()][:top_k])) for row in rows)
    match form:
        case "table":
            _write_table(rows, max(len("runner-up"), *map(len, classes)), top_k, file, says)
        case "csv":
            _write_csv(rows, top_k, file, says)
        case "jsonl":
            file.writelines(f"{_json(row)}\n" for row in rows)


def _write_table(
    rows: Iterable[Prediction], width: int, top_k: int, file: TextIO, says: Sequence[str]
) -> None:
    ranks = ["class", "runner-up", *(f"class {n}" for n in range(3, top_k + 1))][:top_k]
    header = "  ".join(f"{rank:<{width}}  {'share':>7}" for rank in ranks)
    header += f"  {'familiar':<9}" if "familiar" in says else ""
    header += f"  {'answer':<{width + 8}}" if "set" in says else ""
    file.write(f"{header}  image\n{'-' * len(header)}  -----\n")
    for row in rows:
        ranked = row.probabilities.items()
        cells = "  ".join(f"{name:<{width}}  {100 * p:5.1f} %" for name, p in ranked)
        if row.familiarity is not None:
            cells += f"  {'yes' if row.is_familiar else 'no':<4}{100 * row.familiarity:3.0f} %"
        if row.set is not None:
            answer = format_names(row.set) or "no class"
            answer = f"unsure: {answer}" if row.is_unsure else answer
            cells += f"  {answer:<{width + 8}}"
        reason = f": {row.error}" if row.error else ""
        file.write(f"{cells or 'unreadable':<{len(header)}}  {row.path}{reason}\n")


def _write_csv(rows: Iterable[Prediction], top_k: int, file: TextIO, says: Sequence[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    ranks = [f"{what}_{n}" for n in range(1, top_k + 1) for what in ("class", "probability")]
    writer.writerow(["path", *ranks, *says, "error"])
    for row in rows:
        ranked, said = row.probabilities.items(), _said(row)
        cells = [cell for name, p in ranked for cell in (name, f"{p:.8f}")]
        cells += [_cell(said[name]) for name in says] if said else []
        blank = [""] * (len(ranks) + len(says))
        writer.writerow([row.path, *(cells or blank), row.error or ""])


def _cell(value: Any) -> str:
    return ";".join(value) if isinstance(value, list) else json.dumps(value)


def _said(row: Prediction) -> dict[str, Any]:
    """What a prediction says beside its classes, as the checkpoint knows it; see `says`."""
    said: dict[str, Any] = {}
    if row.set is not None:
        said = {"set": list(row.set), "unsure": row.is_unsure}
    if row.familiarity is not None:
        said |= {"familiarity": round(row.familiarity, 4), "familiar": row.is_familiar}
    return said


def _json(row: Prediction) -> str:
    ranked = [{"class": name, "probability": p} for name, p in row.probabilities.items()]
    rest: dict[str, Any] = {"predictions": ranked, **_said(row)}
    if row.nearest:
        rest["nearest"] = [asdict(one) for one in row.nearest]
    rest = {"error": row.error} if row.error else rest
    return json.dumps({"path": row.path, **rest}, ensure_ascii=False)
