"""The learning-rate range test: a rate that grows from step to step, and the loss at each."""

import math
from typing import Any

import pytorch_lightning as pl

HOPELESS = 4.0  # times the lowest loss: what comes after that says nothing more
SMOOTHING = 0.9


class RateRange(pl.Callback):
    """Raises the rate of every group by the same factor each step, and writes down the loss.

    Ends the training when the smoothed loss has grown beyond hope or is no number any more.
    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, 3.3.

    Attributes:
        rates: the optimizer's rate in each step; a group's is that times its scale.
        losses: smoothed, one for each rate.

    Args:
        min_lr: rate of the first step.
        max_lr: rate of the last step.
        steps: how many there are.
    """

    def __init__(self, min_lr: float, max_lr: float, steps: int) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._min_lr = min_lr
        self._factor = (max_lr / min_lr) ** (1 / (steps - 1))
        self._mean = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the step's rate."""
        rate = self._min_lr * self._factor ** len(self.rates)
        self.rates.append(rate)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate * group["lr_scale"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write down the loss, as a mean over the last steps with its beginning corrected."""
        loss = float(outputs["loss"])
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        smoothed = self._mean / (1 - SMOOTHING ** len(self.rates))
        if not math.isfinite(smoothed):
            self.rates.pop()
            trainer.should_stop = True
            return
        self.losses.append(smoothed)
        if smoothed > HOPELESS * min(self.losses):
            trainer.should_stop = True
