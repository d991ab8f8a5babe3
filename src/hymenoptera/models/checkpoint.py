"""What a checkpoint says of itself, and the classifier back from it alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from hymenoptera.atomic import new_file
from hymenoptera.errors import RequestError
from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.weights import load_without_code, not_finite
from hymenoptera.preprocessing import Preprocessing

KEY = "hymenoptera"  # where the facts below stand in the checkpoint
SCHEMA_VERSION = 1


def describe(
    classifier: Classifier, config: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """The facts that a checkpoint carries beside the weights, in plain containers only.

    Args:
        classifier: what is trained.
        config: composed and resolved.
        record: of the run, as far as it is known when training begins.

    Returns:
        `schema_version`; `backbone`, torchvision's name; `weights_id`; `classes` by label;
        `preprocessing`; `config`; `manifest_hash` of the training data; and of the record, as
        `records.write_summary` describes them, `command`, `overrides`, `data` and `device`.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "backbone": classifier.backbone_name,
        "weights_id": classifier.weights_id,
        "classes": list(classifier.classes),
        "preprocessing": classifier.preprocessing.to_dict(),
        "config": config,
        "manifest_hash": record["data"]["manifest_hash"],
        **{key: record[key] for key in ("command", "overrides", "data", "device")},
    }


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint, rebuilt.

    Attributes:
        classifier: with the checkpoint's weights, in eval mode, on the CPU.
        classes: by label.
        preprocessing: from a picture to the classifier's input.
        config: of the run that wrote it, composed and resolved.
        epoch: after which it was written, from 1.
        facts: all that `describe` says; older checkpoints lack `command`, `data` and `device`.
    """

    classifier: Classifier
    classes: list[str]
    preprocessing: Preprocessing
    config: dict[str, Any]
    epoch: int
    facts: dict[str, Any]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project without running any code that the file may hold.

    Raises:
        RequestError: no such file, not a checkpoint of this project, of a newer version of it, or
            with weights that are not finite.
    """
    if not path.is_file():
        raise RequestError(f"{path}: there is no such checkpoint.")
    try:
        checkpoint: dict[str, Any] = load_without_code(path)
    except ValueError as error:
        raise RequestError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors "
            f"and plain values."
        ) from error
    facts = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if not isinstance(version, int):
        raise RequestError(f"{path} is not a checkpoint that this project wrote.")
    if version > SCHEMA_VERSION:
        raise RequestError(
            f"{path} was written by a newer version of this project "
            f"(schema {version}, known here: {SCHEMA_VERSION})."
        )
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or not_finite(state):
        what = f"{not_finite(state)} is not finite" if isinstance(state, dict) else "it has none"
        raise RequestError(f"{path} has no weights that can be used: {what}. Take another one.")
    return checkpoint


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Rebuild the classifier from a checkpoint alone: no config, no data, no download.

    Raises:
        RequestError: as `read_checkpoint`, or what it holds does not fit together.
    """
    with _understood(path):
        return _rebuild(read_checkpoint(path))


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Say of a checkpoint that is one by its header that the rest of it is not."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0].rstrip(":")
        raise RequestError(
            f"{path}: what it holds does not fit together ({type(error).__name__}: {reason}). "
            f"Take another checkpoint."
        ) from error


def _rebuild(checkpoint: dict[str, Any]) -> LoadedCheckpoint:
    facts = checkpoint[KEY]
    preprocessing = Preprocessing.from_dict(facts["preprocessing"])
    with torch.device("meta"):  # first weights would be thrown away
        backbone = build_backbone(facts["backbone"], "none", preprocessing.crop_px)
        classifier = Classifier(backbone, facts["classes"])
    classifier.weights_id = facts["weights_id"]
    classifier.preprocessing = preprocessing
    load_weights(classifier, checkpoint)
    return LoadedCheckpoint(
        classifier.eval(),
        facts["classes"],
        preprocessing,
        facts["config"],
        checkpoint["epoch"] + 1,
        facts,
    )


def facts_inside(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, without building the classifier.

    Returns:
        `epoch`, `accuracy` in that epoch, `interval` (null), `command`, and `model` and `data` as
        `records.write_summary` describes them, as far as they are known.

    Raises:
        RequestError: as `read_checkpoint`.
    """
    with _understood(path):
        return _facts_of(read_checkpoint(path))


def _facts_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    facts = checkpoint[KEY]
    rows = checkpoint.get("callbacks", {}).get("History", {}).get("rows", [])
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {
        "epoch": checkpoint["epoch"] + 1,
        "accuracy": rows[-1]["val/accuracy"] if rows else None,
        "interval": None,
        "command": facts.get("command"),
        "model": {
            "name": facts["backbone"],
            "weights": facts["weights_id"],
            "input_px": facts["preprocessing"]["crop_px"],
            "parameter_count": sum(
                tensor.numel()
                for name, tensor in checkpoint["state_dict"].items()
                if not name.endswith(buffers)
            ),
        },
        "data": facts.get("data", {"classes": facts["classes"]}),
    }


def load_weights(classifier: Classifier, checkpoint: dict[str, Any]) -> None:
    """Give a classifier the weights of a checkpoint that was read.

    Raises:
        RequestError: they are another network's.
    """
    prefix = "classifier."
    try:
        classifier.load_state_dict(
            {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items()},
            assign=True,
        )
    except RuntimeError as error:
        raise RequestError(
            f"The checkpoint's weights are not those of the {classifier.backbone_name} that it "
            f"says it holds. Take another checkpoint."
        ) from error


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a crash never leaves half of one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with new_file(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # of torch, as it closes what it could not write
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
