"""The learning-rate range test: a rate that grows from step to step, and the loss at each."""

import logging
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hymenoptera.callbacks.record import metadata_of
from hymenoptera.errors import RunError
from hymenoptera.reports.learning_rates import write_search

log = logging.getLogger(__name__)

DIVERGED = 4.0  # times the lowest loss: what comes after that says nothing more
MIN_LOSSES = 10  # fewer make no curve to read a learning rate from
SMOOTHING = 0.9


class LearningRateRange(pl.Callback):
    """Raises the learning rate of every group by the same factor each step, and records the loss.

    A step is one of the optimizer's: the batches that it accumulates share a learning rate, and
    their mean is its loss. Stops the training when the smoothed loss has diverged; writes
    find_lr.csv and find_lr.png, and prints what they suggest. Source: Smith, "Cyclical Learning
    Rates for Training Neural Networks", 2017, section 3.3.

    Attributes:
        learning_rates: of each step; a parameter group keeps its proportion to it.
        losses: smoothed, one for each learning rate.

    Args:
        min_lr: learning rate of the first step.
        max_lr: learning rate of the last step.
        steps: how many there are, at least two.
    """

    def __init__(self, min_lr: float, max_lr: float, steps: int) -> None:
        self.learning_rates: list[float] = []
        self.losses: list[float] = []
        self._min_lr, self._steps = min_lr, steps
        self._factor = (max_lr / min_lr) ** (1 / (steps - 1))
        self._scales: list[float] = []
        self._batch_losses: list[float] = []  # of the step so far
        self._mean = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        base = trainer.optimizers[0].defaults["lr"] or 1.0
        groups = trainer.optimizers[0].param_groups
        self._scales = [group.get("lr_scale", group["lr"] / base) for group in groups]

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self._batch_losses:
            lr = self._min_lr * self._factor ** len(self.learning_rates)
            self.learning_rates.append(lr)
            for group, scale in zip(trainer.optimizers[0].param_groups, self._scales, strict=True):
                group["lr"] = lr * scale

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning has divided the loss by the number of batches that are accumulated
        self._batch_losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        if trainer.global_step < len(self.learning_rates):  # it is still accumulating
            return
        loss = sum(self._batch_losses) / len(self._batch_losses)
        self._batch_losses.clear()
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        smoothed = self._mean / (1 - SMOOTHING ** len(self.learning_rates))
        if math.isfinite(smoothed):
            self.losses.append(smoothed)
        if not math.isfinite(smoothed) or smoothed > DIVERGED * min(self.losses):
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the curve, and print what it suggests.

        Raises:
            RunError: the loss diverged too early for a curve.
        """
        del self.learning_rates[len(self.losses) :]  # of a step without a loss
        if len(self.losses) < min(MIN_LOSSES, self._steps):
            raise RunError(
                f"The loss diverged after {len(self.losses)} steps, from a learning rate of "
                f"{self._min_lr:.2g}. Begin with a lower one: find_lr.min_lr={self._min_lr / 1e3:g}"
            )
        if trainer.is_global_zero:
            curve = (self.learning_rates, self.losses)
            overrides = metadata_of(trainer).get("overrides")
            for line in write_search(Path(trainer.default_root_dir), *curve, overrides):
                log.info("%s", line)
