"""Checkpoints: read without running code, described, and the classifier rebuilt from one alone."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from hymenoptera.errors import ConfigError, in_one_line
from hymenoptera.files import new_file
from hymenoptera.models.calibration import Calibration
from hymenoptera.models.classifier import ImageClassifier
from hymenoptera.models.weights import load_without_code

KEY = "hymenoptera"  # where a run's metadata stand in a checkpoint
CALIBRATION = "calibration"  # where, in these, what its predictions are worth
SCHEMA_VERSION = 2  # of the metadata


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of an ImageClassifier without running any code that the file may hold.

    Returns:
        As Lightning wrote it; under "hymenoptera" the metadata of a run, if one wrote it.

    Raises:
        ConfigError: as `load_without_code`, or the file is not a checkpoint of an ImageClassifier
            by this version of the project.
    """
    checkpoint: dict[str, Any] = load_without_code(path)
    with damage_explained(path):
        version = checkpoint.get(KEY, {}).get("schema_version", SCHEMA_VERSION)
        _ = checkpoint["state_dict"].keys(), checkpoint["hyper_parameters"]["classes"]
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"{path} was written by another version of this project "
                f"(schema {version}, known here: {SCHEMA_VERSION})."
            )
    return checkpoint


def load_classifier(path: Path) -> ImageClassifier:
    """Rebuild the classifier from a checkpoint alone: no config, no data, no download.

    Returns:
        The classifier with the checkpoint's weights, in eval mode, on the CPU.

    Raises:
        ConfigError: as `read_checkpoint`, or what it holds does not fit together.
    """
    return classifier_from(read_checkpoint(path), path)


def classifier_from(checkpoint: dict[str, Any], path: Path) -> ImageClassifier:
    """As `load_classifier`, from what `read_checkpoint` gave; the path is for errors."""
    known = inspect.signature(ImageClassifier).parameters
    with damage_explained(path):
        hparams = {k: v for k, v in checkpoint["hyper_parameters"].items() if k in known}
        classifier = ImageClassifier(**{"weights_id": "none", **hparams, "weights": "none"})
        classifier.on_load_checkpoint(checkpoint)
        classifier.load_state_dict(checkpoint["state_dict"])
    return classifier.eval()


def calibration_in(checkpoint: dict[str, Any], path: Path) -> Calibration | None:
    """What a checkpoint's predictions are worth, see `models.calibration`; None if unknown."""
    values = checkpoint.get(KEY, {}).get(CALIBRATION)
    with damage_explained(path):
        return None if values is None else Calibration.from_dict(values)


def add_calibration(path: Path, calibration: Calibration) -> None:
    """Write into a checkpoint what its predictions are worth; all else stays as it is."""
    checkpoint = load_without_code(path)
    metadata = checkpoint.setdefault(KEY, {"schema_version": SCHEMA_VERSION})
    metadata[CALIBRATION] = calibration.to_dict()
    WholeCheckpointIO().save_checkpoint(checkpoint, path)


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, without building the classifier.

    Returns:
        `epoch`, from 1, in which or after which it was written; `step`; `accuracy` of the latest
        validation in that epoch, or None; `model`; and of the metadata `command`, `device` and
        `data`, with `classes` in any case.

    Raises:
        ConfigError: as `read_checkpoint`, or what it holds does not fit together.
    """
    checkpoint = read_checkpoint(path)
    with damage_explained(path):
        hparams, metadata = checkpoint["hyper_parameters"], checkpoint.get(KEY, {})
        epoch = checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["ready"]
        rows = checkpoint.get("callbacks", {}).get("History", {}).get("rows", [])
        accuracies = [row.get("val/accuracy") for row in rows if row["epoch"] == epoch]
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        counts = {k: v.numel() for k, v in checkpoint["state_dict"].items()}
        return {
            "epoch": epoch,
            "step": checkpoint["global_step"],
            "accuracy": accuracies[-1] if accuracies else None,
            "model": {
                "backbone": hparams["backbone"],
                "weights": hparams["weights_id"],
                "input_px": hparams["preprocessing"]["crop_px"],
                "parameter_count": sum(n for k, n in counts.items() if not k.endswith(buffers)),
            },
            "command": metadata.get("command"),
            "device": metadata.get("device"),
            "data": {"classes": hparams["classes"], **metadata.get("data", {})},
        }


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Say of which checkpoint it is that does not hold what it should.

    Raises:
        ConfigError: for any other error of reading what a checkpoint holds.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = in_one_line(error).rstrip(":")
        raise ConfigError(f"{path} is no usable checkpoint of this project ({reason}).") from error


class WholeCheckpointIO(TorchCheckpointIO):
    """A Trainer plugin that writes a checkpoint whole or not at all.

    Lightning's own writes to the system's temporary folder, and copies from there to another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside its place and rename it.

        Raises:
            OSError: it cannot be written; an older file there is untouched.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with new_file(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # of torch, as it closes what it could not write
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
