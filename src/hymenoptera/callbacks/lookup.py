"""How callbacks find each other."""

from typing import TypeVar

import pytorch_lightning as pl

Kind = TypeVar("Kind", bound=pl.Callback)


def callback_of(trainer: pl.Trainer, kind: type[Kind]) -> Kind | None:
    """The first callback of a kind that a trainer has, if any."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)
