"""Judges a run's best checkpoint: on all of validation as the run ends, and on a test set.

A sweep does the latter for its winner alone.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from hymenoptera.callbacks.judgement import Judged, tell
from hymenoptera.config import build
from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.manifest import manifest_hash
from hymenoptera.device import resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import load_checkpoint
from hymenoptera.models.inference import inputs_of, predict
from hymenoptera.preparing import Run
from hymenoptera.results import records
from hymenoptera.results.metrics import Judgement

log = logging.getLogger(__name__)


def judge_best(run: Run) -> dict[str, Any] | None:
    """Rebuild the best checkpoint's classifier from its file, and judge it on all of validation.

    Writes predictions.csv, and has the run's watchers look at what it predicts.

    Returns:
        What the record says of it, see `records.write_summary`; None where there is none.
    """
    path = run.folder / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    # what stayed frozen is what it was when the features were computed
    network = run.cut.upper(checkpoint.classifier) if run.cut else checkpoint.classifier
    head = checkpoint.classifier.head
    with inputs_of(head) as features:
        labels, probabilities = predict(
            network, run.data.validation_batches(), **run.device.trainer_options()
        )
    checkpoint.classifier.to(head.weight)  # where only the upper part has been moved
    index = run.data.index
    names = [sample.path.relative_to(index.root).as_posix() for sample in index.val]
    records.write_predictions(run.folder, names, labels, probabilities, index.classes)
    judgement = Judgement(index.classes, np.array(labels), np.array(probabilities), names)
    with _board(run) as writer:
        vectors = torch.cat(features).numpy()
        tell(
            run.watchers,
            Judged(run.folder, checkpoint, judgement, index.val, vectors, writer),
        )
    return {
        "epoch": checkpoint.epoch,
        "checkpoint": "checkpoints/best.ckpt",
        **records.judged(labels, probabilities),
    }


def judge_test(folder: Path) -> dict[str, Any]:
    """Judge a run's best checkpoint on its test set; write test.json and test_predictions.csv.

    Args:
        folder: of a run that is completed.

    Returns:
        What `records.judged` says, and the test set's manifest hash.

    Raises:
        RequestError: the run kept no test set apart, or its pictures are not what they were.
    """
    summary = records.read_summary(folder) or {}
    wanted = summary.get("data", {}).get("test_manifest_hash")
    if wanted is None:
        raise RequestError(f"{folder} kept no test set apart: data.test_fraction=0.2 would have.")
    checkpoint = load_checkpoint(folder / "checkpoints" / "best.ckpt")
    trainer = checkpoint.config["trainer"]
    device = resolve_device(trainer["accelerator"], trainer["devices"], trainer["precision"])
    data: PictureDataModule = build(checkpoint.config["data"])
    data.setup()
    found = manifest_hash(data.test_manifest())
    if found != wanted:
        raise RequestError(f"{folder}: the test pictures have changed since; it is not judged.")
    data.use(checkpoint.preprocessing)
    labels, probabilities = predict(
        checkpoint.classifier, data.test_dataloader(), **device.trainer_options()
    )
    index = data.index
    names = [sample.path.relative_to(index.root).as_posix() for sample in index.test]
    records.write_predictions(
        folder, names, labels, probabilities, index.classes, file="test_predictions.csv"
    )
    result = {**records.judged(labels, probabilities), "test_manifest_hash": found}
    result["test_accuracy"] = result.pop("val_accuracy")
    records.write_test(folder, result)
    return result


@contextmanager
def _board(run: Run) -> Iterator[SummaryWriter | None]:
    """TensorBoard's events again, after the Trainer has closed them; None where there are none."""
    nodes = run.loggers().values()
    if not any(
        "TensorBoardLogger" in node["_target_"]
        for node in nodes
        if node and node.get("enabled", True)
    ):
        yield None
        return
    with SummaryWriter(str(run.folder)) as writer:
        yield writer
