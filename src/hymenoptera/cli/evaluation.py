"""`hymenoptera evaluate`: on a run's own validation or test images, or on a folder of others."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl

from hymenoptera.callbacks import CheckpointCalibration, Evaluation, evaluation_of, quiet_libraries
from hymenoptera.callbacks.evaluation import EvaluationResult
from hymenoptera.cli.description import record_of
from hymenoptera.config.instantiate import check_targets, instantiate
from hymenoptera.data import ImageDataModule
from hymenoptera.data.folders import class_folders, find_samples, find_splits
from hymenoptera.data.samples import Found
from hymenoptera.errors import ConfigError, RunError, nearest
from hymenoptera.models import Predictor
from hymenoptera.models.checkpoint import KEY, read_checkpoint
from hymenoptera.reports.metrics import measure
from hymenoptera.reports.record import accuracy_summary, read_summary, write_summary
from hymenoptera.reports.runs import find_checkpoint, run_of


def evaluate(
    path: Path, folder: Path | None = None, device: str = "auto", split: str = "val"
) -> dict[str, Any]:
    """Evaluate a checkpoint on the "val" or "test" images of a folder, or of its run.

    Returns:
        `checkpoint`, `data` (the folder), `recorded` (the accuracy in the run's record, where
        this is its best checkpoint on its own images) and what `reports.metrics.measure` gives.

    Raises:
        ConfigError: no such checkpoint or device, or no such images.
    """
    predictor = Predictor(path, device)
    record: dict[str, Any] | None = None
    if folder is not None:
        datamodule = _folder_data(folder.expanduser(), predictor.classes, split)
    else:
        try:
            datamodule = run_data(read_checkpoint(path).get(KEY, {}), split)
        except ConfigError as error:
            raise ConfigError(f"{error} Name a folder of class folders with --data.") from error
        if (summary := record_of(path)) is not None:
            record = summary.best if split == "val" else summary.test
    with TemporaryDirectory() as place:
        result, _ = _evaluate(predictor, datamodule, split, place)
    about = {"checkpoint": str(path), "data": str(datamodule.root)}
    return {**about, "recorded": record and record["accuracy"], **measure(result)}


def test_best(folder: Path) -> None:
    """Evaluate a finished run's best checkpoint on the held-out test images, for its record."""
    path, summary = find_checkpoint(folder), read_summary(folder)
    if summary is None or summary.best is None:
        raise ConfigError(f"{folder} has no record of a finished run.")
    datamodule = run_data(read_checkpoint(path).get(KEY, {}), "test")
    result, loss = _evaluate(Predictor(path), datamodule, "test", folder)
    summary.test = {
        **{key: summary.best[key] for key in ("epoch", "step", "checkpoint", "monitor", "score")},
        "loss": loss,
        **accuracy_summary(result.labels, result.probabilities),
    }
    write_summary(folder, summary)


def calibrate(path: Path, device: str = "auto", unfamiliar_share: float = 0.05) -> dict[str, Any]:
    """Calibrate a checkpoint on the images of its run, as a run does at its end.

    Returns what the run's record gets too, see `callbacks.calibration`; raises ConfigError without
    such a checkpoint, device or images, RunError where the file cannot be written.
    """
    predictor = Predictor(path, device)
    datamodule = run_data(predictor.metadata, "train")
    calibration = CheckpointCalibration(unfamiliar_share, path)
    with TemporaryDirectory() as place:
        _evaluate(predictor, datamodule, "val", place, [calibration])
    if calibration.summary is None:
        raise RunError(f"{path} could not be calibrated.")
    if (run := run_of(path)) is not None and (summary := record_of(path)) is not None:
        summary.calibration = calibration.summary
        write_summary(run, summary)
    return calibration.summary


def _evaluate(
    predictor: Predictor,
    datamodule: ImageDataModule,
    split: str,
    folder: str | Path,
    callbacks: Sequence[pl.Callback] = (),
) -> tuple[EvaluationResult, float]:
    """The result and the loss; the predictions are written into the folder."""
    quiet_libraries()
    trainer = pl.Trainer(
        accelerator=predictor.accelerator,
        devices=1,
        precision=predictor.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        callbacks=[Evaluation(folder), *callbacks],
    )
    run = trainer.validate if split == "val" else trainer.test
    run(predictor.classifier, datamodule=datamodule, verbose=False)
    result = evaluation_of(trainer)
    assert result is not None
    return result, float(trainer.callback_metrics[f"{split}/loss"])


def run_data(metadata: dict[str, Any], split: str) -> ImageDataModule:
    """The images of the run that wrote a checkpoint, from the checkpoint's metadata.

    Raises ConfigError where those of the split ("val", "test", or "train" for all) are not there
    any more, or not the same, file by file.
    """
    data, node = metadata.get("data"), metadata.get("config", {}).get("data")
    if not data or not node:
        raise ConfigError("The checkpoint does not say where its run's images are.")
    key = "manifest_hash" if split == "train" else f"{split}_manifest_hash"
    if not data.get(key):
        raise ConfigError("The run held no test images out.")
    check_targets(node, "data.")
    place = {}
    if root := data.get("root") and Path(data["root"]):
        if not root.is_dir():
            raise ConfigError(f"The run's images are no longer in {root}.")
        # where they are now, in place of where they were fetched from, or drawn
        options = {"source": root, "root": root, "folder": root.parent}
        place = {name: str(value) for name, value in options.items() if name in node}
    unchanged = {"on_error": "skip", "cache": "none", "augment_on": "cpu"}
    datamodule: ImageDataModule = instantiate({**node, **place, **unchanged}, key="data")
    datamodule.prepare_data()
    datamodule.setup()
    if datamodule.summary()[key] != data[key]:
        raise ConfigError(
            f"The images in {root} are not those of the run: some were added, changed or removed."
        )
    return datamodule


class _FolderDataModule(ImageDataModule):
    """The images of a folder as validation and as test images."""

    def __init__(self, folder: Path, classes: list[str]) -> None:
        super().__init__(on_error="skip")
        self._folder, self._classes = folder, classes

    def find(self) -> Found:
        samples = find_samples(self._folder, self._folder, self._classes, Counter())
        return Found(self._folder, self._classes, samples, samples, samples)


def _folder_data(folder: Path, classes: list[str], split: str) -> ImageDataModule:
    """The images of a folder's split, or of its class folders, which must all be readable."""
    splits = find_splits(folder)
    place = next((splits[name] for name in (split, "val", "test") if name in splits), folder)
    strange = [name for name in class_folders(place) if name not in classes]
    if strange:
        hint = nearest(strange[0], classes)
        raise ConfigError(f"--data {place}: the model has no class {strange[0]}. {hint}")
    datamodule = _FolderDataModule(place, classes)
    datamodule.setup()
    for name, reason in datamodule.skipped.items():
        raise ConfigError(f"--data {place}: {name} cannot be read ({reason}). Repair or remove it.")
    return datamodule
