"""last.ckpt: what a run goes on from, saved no more often than is worth it."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

AGREE_EVERY = 20  # steps: several processes do not stop for each other's clocks more often


class LastCheckpoint(ModelCheckpoint):
    """Saves after the first epoch, after the last, and in between where enough time has passed.

    A head on cached features runs through an epoch in less time than its checkpoint takes. In an
    epoch that takes long, it saves between two steps as well; a run that was killed goes on there,
    and loses `every_s` and `within_epoch_s` at the most.

    Args:
        every_s: seconds from one save to the next, at least; 0 saves after every epoch.
        within_epoch_s: the same for those in the middle of an epoch; None for none of these.
        options: as of Lightning's ModelCheckpoint.
    """

    def __init__(
        self, *, every_s: float = 0.0, within_epoch_s: float | None = None, **options: Any
    ) -> None:
        super().__init__(save_on_train_epoch_end=True, **options)
        self._every_s = every_s
        self._within_epoch_s = within_epoch_s
        self._saved_at = self._epoch_began = float("-inf")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the clock."""
        self._epoch_began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save in the middle of an epoch, if it is time and no gradients are being accumulated."""
        if self._within_epoch_s is None or batch_idx + 1 == trainer.num_training_batches:
            return
        if trainer.fit_loop._should_accumulate():
            return
        if trainer.world_size > 1 and trainer.global_step % AGREE_EVERY:
            return
        passed_s = time.monotonic() - max(self._saved_at, self._epoch_began)
        # all processes save, or none: their clocks differ
        if trainer.strategy.broadcast(passed_s >= self._within_epoch_s):
            super().on_train_epoch_end(trainer, pl_module)
            self._saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time or the last chance."""
        is_last = (
            trainer.should_stop
            or trainer.current_epoch + 1 == trainer.max_epochs
            or trainer.global_step == trainer.max_steps
        )
        due = is_last or time.monotonic() - self._saved_at >= self._every_s
        if trainer.strategy.broadcast(due):
            super().on_train_epoch_end(trainer, pl_module)
            self._saved_at = time.monotonic()
