"""last.ckpt: what a run goes on from, saved no more often than is worth it."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Saves after the first epoch, after the last, and in between where enough time has passed.

    A head on cached features runs through an epoch in less time than its checkpoint takes; a
    killed run loses `every_s` and the epoch it is in at the most.

    Args:
        every_s: seconds from one save to the next, at least; 0 saves after every epoch.
        options: as of Lightning's ModelCheckpoint.
    """

    def __init__(self, *, every_s: float = 0.0, **options: Any) -> None:
        super().__init__(save_on_train_epoch_end=True, **options)
        self._every_s = every_s
        self._saved_at = float("-inf")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time or the last chance."""
        is_last = (
            trainer.should_stop
            or trainer.current_epoch + 1 == trainer.max_epochs
            or trainer.global_step == trainer.max_steps
        )
        due = is_last or time.monotonic() - self._saved_at >= self._every_s
        if trainer.strategy.broadcast(due):  # all processes save, or none: their clocks differ
            super().on_train_epoch_end(trainer, pl_module)
            self._saved_at = time.monotonic()
