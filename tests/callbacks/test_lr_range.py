"""The range test raises the rate from optimizer step to optimizer step."""

import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from callbacks.conftest import Fit, Foreign
from hymenoptera.callbacks import FiniteLoss, LearningRateRange
from hymenoptera.callbacks.lr_range import SMOOTHING
from hymenoptera.errors import RunError


class Watch(pl.Callback):
    """The learning rates of the groups, and the loss, in each batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


class TwoGroups(Foreign):
    def configure_optimizers(self):
        groups = [{"params": [self.layer.weight], "lr": 0.01}, {"params": [self.layer.bias]}]
        return torch.optim.SGD(groups, lr=0.1)


def search(
    fit: Fit, steps: int, model: Foreign, *more: pl.Callback, **options
) -> tuple[LearningRateRange, Watch]:
    callback, watch = LearningRateRange(1e-4, 1e-2, steps), Watch()
    limits = {"max_epochs": -1, "max_steps": steps, "limit_val_batches": 0}
    fit(FiniteLoss(), callback, watch, *more, model=model, **limits, **options)
    return callback, watch


def test_every_group_is_raised_by_the_same_factor(fit: Fit) -> None:
    callback, watch = search(fit, 5, TwoGroups())
    rates = [1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2]
    assert callback.learning_rates == pytest.approx(rates)
    assert [weight for weight, _ in watch.rates] == pytest.approx([r / 10 for r in rates])
    assert [bias for _, bias in watch.rates] == pytest.approx(rates)
    assert len(callback.losses) == 5


def test_accumulated_batches_share_a_rate_and_their_mean_is_the_loss(fit: Fit) -> None:
    """Three batches an epoch, two a step: the last of an epoch is a step of its own."""
    callback, watch = search(fit, 4, Foreign(), accumulate_grad_batches=2)
    assert len(callback.learning_rates) == len(callback.losses) == 4
    rates = [rate for (rate,) in watch.rates]
    steps = callback.learning_rates
    assert rates == [steps[0], steps[0], steps[1], steps[2], steps[2], steps[3]]
    first = (watch.losses[0] + watch.losses[1]) / 2
    assert callback.losses[0] == pytest.approx(first)
    mean = SMOOTHING * (1 - SMOOTHING) * first + (1 - SMOOTHING) * watch.losses[2]
    assert callback.losses[1] == pytest.approx(mean / (1 - SMOOTHING**2))


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_loss_that_is_no_number_ends_the_search(fit: Fit, accumulated: int) -> None:
    model = Foreign(fail_at=12)
    callback, _ = search(fit, 50, model, accumulate_grad_batches=accumulated)
    assert len(callback.learning_rates) == len(callback.losses) == 12
    assert all(math.isfinite(loss) for loss in callback.losses)


def test_too_early_for_a_curve(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"after 3 steps, .* find_lr.min_lr=1e-07"):
        search(fit, 50, Foreign(fail_at=3))
    assert not list(tmp_path.iterdir())
