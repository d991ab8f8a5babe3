"""A checkpoint judged again: on its run's own validation pictures, or on a folder of others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from hymenoptera.config import build
from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.folders import Sample, find_samples, subfolders, validation_part
from hymenoptera.data.loading import load_in_order
from hymenoptera.data.pictures import refuse_unreadable, unreadable_pictures
from hymenoptera.errors import RequestError, nearest
from hymenoptera.models.checkpoint import LoadedCheckpoint, load_checkpoint
from hymenoptera.models.inference import predict
from hymenoptera.predictor import resolve_like
from hymenoptera.results.metrics import Judgement, measure
from hymenoptera.results.records import read_summary
from hymenoptera.results.runs import run_of


def evaluate(path: Path, folder: Path | None = None, device: str = "auto") -> dict[str, Any]:
    """Judge a checkpoint.

    Args:
        path: the checkpoint.
        folder: of class folders, or with a validation part of them; None for the pictures that
            the run itself was judged on.
        device: "auto", "cpu", "gpu" or "mps".

    Returns:
        `checkpoint`, `data` (the folder), `recorded` (the accuracy in the run's record, where
        this is its best checkpoint on its own pictures) and what `measure` gives.

    Raises:
        RequestError: no such checkpoint or device, or the pictures cannot be had, or are not
            those that the run was judged on.
    """
    checkpoint = load_checkpoint(path)
    root, samples, loader = (
        _own(checkpoint) if folder is None else _others(checkpoint, folder.expanduser())
    )
    options = resolve_like(checkpoint, device).trainer_options()
    labels, probabilities = predict(checkpoint.classifier, loader, **options)
    judgement = Judgement(
        checkpoint.classes,
        np.array(labels),
        np.array(probabilities),
        [sample.path.relative_to(root).as_posix() for sample in samples],
    )
    return {
        "checkpoint": str(path),
        "data": str(root),
        "recorded": _recorded(path) if folder is None else None,
        **measure(judgement),
    }


def own_data(checkpoint: LoadedCheckpoint) -> PictureDataModule:
    """The run's own pictures, set up, where its record says that they are.

    Raises:
        RequestError: they are not there any more, or are not the same.
    """
    facts = checkpoint.facts.get("data")
    if facts is None:
        raise RequestError("The checkpoint does not say where its run's pictures are.")
    root = Path(facts["root"])
    if not root.is_dir():
        raise RequestError(f"The run's pictures are no longer in {root}.")
    data: PictureDataModule = build({**checkpoint.config["data"], "on_error": "skip"})
    data.locate = lambda: root  # type: ignore[method-assign] # neither fetched nor drawn again
    data.setup()
    data.use(checkpoint.preprocessing)
    if data.facts()["manifest_hash"] != facts["manifest_hash"]:
        raise RequestError(
            f"The pictures in {root} are not those of the run: some were added, changed or removed."
        )
    return data


def _recorded(path: Path) -> float | None:
    run = run_of(path)
    best = ((run and read_summary(run)) or {}).get("best")
    if not run or not best or (run / best["checkpoint"]).resolve() != path.resolve():
        return None
    return float(best["val_accuracy"])


Pictures = tuple[Path, Sequence[Sample], DataLoader[Any]]


def _own(checkpoint: LoadedCheckpoint) -> Pictures:
    try:
        data = own_data(checkpoint)
    except RequestError as error:
        raise RequestError(
            f"{error} Put them back, or name a folder of class folders with --data."
        ) from error
    return data.index.root, data.index.val, data.val_dataloader()


def _others(checkpoint: LoadedCheckpoint, folder: Path) -> Pictures:
    if not folder.is_dir():
        raise RequestError(f"--data {folder}: there is no such folder.")
    part = validation_part(folder) or folder
    strange = [name for name in subfolders(part) if name not in checkpoint.classes]
    if strange:
        hint = nearest(strange[0], checkpoint.classes)
        raise RequestError(f"--data {part}: the model has no class {strange[0]}. {hint}")
    samples, _ = find_samples(part, checkpoint.classes)
    if not samples:
        raise RequestError(
            f"--data {part}: there are no pictures in folders named after the model's classes "
            f"({', '.join(checkpoint.classes[:6])}{', ...' * (len(checkpoint.classes) > 6)})."
        )
    refuse_unreadable(unreadable_pictures([sample.path for sample in samples]), "")
    return part, samples, load_in_order(samples, checkpoint.preprocessing.transform())
