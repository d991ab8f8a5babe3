"""A loss that is no number ends the run at once: nothing that comes after it can be mended."""

import math
from typing import Any

import pytorch_lightning as pl

from hymenoptera.errors import RunError
from hymenoptera.models.module import ClassifierModule


class FiniteLoss(pl.Callback):
    """Ends the run in the step whose loss is NaN or infinite; no checkpoint is made of it."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the step's loss, of several processes all at the same time.

        Raises:
            RunError: naming the step, the rate and what may help.
        """
        value = outputs["loss"]
        if trainer.world_size > 1:  # or those whose own is one would wait for the one that ends
            value = trainer.strategy.reduce(value.clone(), reduce_op="sum")  # in its place
        loss = float(value)
        if math.isfinite(loss):
            return
        assert isinstance(pl_module, ClassifierModule)
        rate = max(pl_module.rates().values())
        precision = str(trainer.precision)
        more = "" if precision.startswith(("32", "64")) else ", trainer.precision=32-true"
        raise RunError(
            f"train/loss is {loss} in step {max(1, trainer.global_step)}, in epoch "
            f"{trainer.current_epoch + 1}, at a learning rate of {rate:g}: try a lower one "
            f"(optimizer.lr={rate / 10:g}), trainer.gradient_clip_val=1{more}."
        )
