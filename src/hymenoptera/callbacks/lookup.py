"""How callbacks find each other, and the images."""

from typing import TypeVar

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from hymenoptera.data.samples import Samples

Kind = TypeVar("Kind", bound=pl.Callback)


def callback_of(trainer: pl.Trainer, kind: type[Kind]) -> Kind | None:
    """The first callback of a kind that a trainer has, if any."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)


def readable_samples(trainer: pl.Trainer, split: str = "val") -> Samples | None:
    """A split's images, if they can be read again and this process has the whole model."""
    samples = getattr(trainer.datamodule, split, None)  # type: ignore[attr-defined]
    is_whole = trainer.world_size == 1 or isinstance(trainer.strategy, DDPStrategy)
    return samples if is_whole and isinstance(samples, Samples) else None
