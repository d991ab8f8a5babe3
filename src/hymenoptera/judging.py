"""Judges a finished run on the test set that it kept apart: a sweep does so for its winner."""

import logging
from pathlib import Path
from typing import Any

from hymenoptera.config import build
from hymenoptera.data.datamodule import PictureDataModule
from hymenoptera.data.manifest import manifest_hash
from hymenoptera.device import resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import load_checkpoint
from hymenoptera.models.inference import predict
from hymenoptera.results import records

log = logging.getLogger(__name__)


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
