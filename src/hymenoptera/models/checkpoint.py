"""Checkpoints: read without running code, described, and the classifier rebuilt from one alone."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from hymenoptera.errors import ConfigError
from hymenoptera.files import new_file
from hymenoptera.models.classifier import ImageClassifier
from hymenoptera.models.weights import load_without_code, not_finite

KEY = "hymenoptera"  # where a run's metadata stand in a checkpoint
SCHEMA_VERSION = 2  # of the metadata


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of an ImageClassifier without running any code that the file may hold.

    Returns:
        As Lightning wrote it; under "hymenoptera" the metadata of a run, if one wrote it.

    Raises:
        ConfigError: no such file, not a checkpoint of an ImageClassifier, of another version of
            this project, or with weights that are not finite.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such checkpoint.")
    try:
        checkpoint = load_without_code(path)
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors "
            f"and plain values."
        ) from error
    checkpoint = checkpoint if isinstance(checkpoint, dict) else {}
    metadata, hparams = checkpoint.get(KEY, {}), checkpoint.get("hyper_parameters")
    version = metadata.get("schema_version", SCHEMA_VERSION) if isinstance(metadata, dict) else 0
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} was written by another version of this project "
            f"(schema {version}, known here: {SCHEMA_VERSION})."
        )
    if not isinstance(hparams, dict) or not {"classes", "backbone"} <= hparams.keys():
        raise ConfigError(f"{path} is not a checkpoint that this project wrote.")
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not_finite(state):
        what = f"{not_finite(state)} is not finite" if isinstance(state, dict) else "it has none"
        raise ConfigError(f"{path} has no weights that can be used: {what}. Take another one.")
    return checkpoint


def load_classifier(path: Path) -> ImageClassifier:
    """Rebuild the classifier from a checkpoint alone: no config, no data, no download.

    Returns:
        The classifier with the checkpoint's weights, in eval mode, on the CPU.

    Raises:
        ConfigError: as `read_checkpoint`, or what it holds does not fit together.
    """
    return classifier_from(read_checkpoint(path), path)


def classifier_from(
    checkpoint: dict[str, Any], path: Path = Path("The checkpoint")
) -> ImageClassifier:
    """As `load_classifier`, from what `read_checkpoint` gave; the path is for errors."""
    known = inspect.signature(ImageClassifier).parameters
    with _damage_explained(path):
        hparams = {k: v for k, v in checkpoint["hyper_parameters"].items() if k in known}
        classifier = ImageClassifier(**{"weights_id": "none", **hparams, "weights": "none"})
        classifier.on_load_checkpoint(checkpoint)
        classifier.load_state_dict(checkpoint["state_dict"])
    return classifier.eval()


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, without building the classifier.

    Returns:
        `epoch`, from 1, in which or after which it was written; `batch`, after how many batches of
        that epoch, 0 after all; `step`; `accuracy` of the validation after that epoch, or None;
        `model`; and of the metadata `command`, `device` and `data`, with `classes` in any case.

    Raises:
        ConfigError: as `read_checkpoint`, or what it holds does not fit together.
    """
    checkpoint = read_checkpoint(path)
    with _damage_explained(path):
        hparams, metadata = checkpoint["hyper_parameters"], checkpoint.get(KEY, {})
        epoch, batch = _position(checkpoint)
        rows = checkpoint.get("callbacks", {}).get("History", {}).get("rows", [])
        accuracies = [row.get("val/accuracy") for row in rows if row.get("epoch") == epoch]
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        counts = {k: v.numel() for k, v in checkpoint["state_dict"].items()}
        return {
            "epoch": epoch,
            "batch": batch,
            "step": checkpoint["global_step"],
            "accuracy": accuracies[-1] if accuracies and not batch else None,
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


def _position(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """The epoch that had begun last, from 1, and after how many of its batches; 0 after all."""
    loops = checkpoint.get("loops", {}).get("fit_loop")
    if loops is None:  # weights alone
        return checkpoint["epoch"] + 1, 0
    epochs, batches = loops["epoch_progress"]["total"], loops["epoch_loop.batch_progress"]
    ended = epochs["processed"] == epochs["ready"] or batches["is_last_batch"]
    return epochs["ready"], 0 if ended else batches["current"]["processed"]


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Say of a file that begins like a checkpoint that the rest of it is none."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(":")
        raise ConfigError(
            f"{path}: what it holds does not fit together ({type(error).__name__}: {reason}). "
            f"Take another checkpoint."
        ) from error


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
