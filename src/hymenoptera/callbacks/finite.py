"""A loss that is not finite ends the run: nothing that comes after it can be repaired."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hymenoptera.callbacks.history import learning_rates
from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.callbacks.lr_range import LearningRateRange
from hymenoptera.errors import RunError

CHECK_EVERY = 32  # steps on a GPU: each look makes the host wait for the device


class FiniteLoss(pl.Callback):
    """Ends the run with a `RunError` when the training or the validation loss is NaN or infinite.

    On a CPU in the very step. On a GPU the losses are added up there, and looked at every
    CHECK_EVERY steps, at the end of an epoch, and before a checkpoint: none is made of it.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        is_search = callback_of(trainer, LearningRateRange) is not None  # for where that begins
        if is_search or not isinstance(loss, Tensor):  # manual optimization may return nothing
            return
        loss = loss.detach().float()
        self._sum = loss if self._sum is None else self._sum + loss
        if loss.device.type == "cpu" or (batch_idx + 1) % CHECK_EVERY == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._check(trainer)

    on_save_checkpoint = on_train_epoch_end

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", 0.0))
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not math.isfinite(loss):
            raise RunError(f"val/loss is {loss} in epoch {trainer.current_epoch + 1}.")

    def _check(self, trainer: pl.Trainer) -> None:
        if self._sum is None:
            return
        # all processes look at the same time, or the others would wait for the one
        loss = float(trainer.strategy.reduce(self._sum.clone(), reduce_op="sum"))
        self._sum = None
        if math.isfinite(loss):
            return
        lr = max(learning_rates(trainer).values(), default=0.0)
        is_full = str(trainer.precision).startswith(("32", "64"))
        raise RunError(
            f"train/loss is {loss} in step {max(1, trainer.global_step)}, in epoch "
            f"{trainer.current_epoch + 1}, at a learning rate of {lr:g}: try a lower one "
            f"(optimizer.lr={lr / 10:g}), trainer.gradient_clip_val=1"
            f"{'' if is_full else ', trainer.precision=32-true'}."
        )
