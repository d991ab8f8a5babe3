"""What a checkpoint says of its run: the config from which the classifier can be rebuilt."""

import json
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from omegaconf import Container, OmegaConf

from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.models.checkpoint import KEY, SCHEMA_VERSION


class RunMetadata(pl.Callback):
    """Puts a run's metadata into `checkpoint["hymenoptera"]`.

    In plain containers: `weights_only=True` loads nothing but dictionaries, lists, strings and
    numbers.

    Args:
        metadata: `config`, `overrides`, `command`, `data`, `device`.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(dict(metadata), default=_plain))
        self.metadata: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **plain}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: Any) -> None:
        """Add the metadata."""
        checkpoint[KEY] = self.metadata


def metadata_of(trainer: pl.Trainer) -> dict[str, Any]:
    """The metadata of a trainer's `RunMetadata`; empty without one."""
    callback = callback_of(trainer, RunMetadata)
    return {} if callback is None else callback.metadata


def _plain(value: Any) -> Any:
    is_node = isinstance(value, Container)
    return OmegaConf.to_container(value, resolve=True) if is_node else str(value)
