"""Schedules: the rate at the points that define them, and in runs of any length."""

import warnings
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler as of_torch

from hymenoptera.errors import ConfigError
from hymenoptera.models import schedulers

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def rates(make, steps: int, *length: int, **options: float) -> list[float]:
    optimizer = SGD([torch.zeros(1, requires_grad=True)])
    schedule = make(optimizer, *length, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_warms_up_and_falls_to_zero() -> None:
    found = rates(schedulers.cosine, 100, 100, 10, warmup_fraction=0.1)
    assert found[0] == pytest.approx(0.001)
    assert max(found) == found[10] == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.05)
    assert found[-1] < 1e-4
    assert found[10:] == sorted(found[10:], reverse=True)
    assert rates(schedulers.cosine, 10, 10, 10, warmup_fraction=0.0)[0] == pytest.approx(0.1)


def test_one_cycle_peaks_at_the_rate() -> None:
    found = rates(schedulers.one_cycle, 100, 100, 10, warmup_fraction=0.3)
    assert max(found) == pytest.approx(0.1)
    assert found.index(max(found)) == 29
    assert found[-1] < found[0] < 0.01


@pytest.mark.parametrize("fraction", [0, 0.1, 0.3, 0.5, 1])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_one_cycle_of_any_length(steps: int, fraction: float) -> None:
    found = rates(schedulers.one_cycle, steps, steps, steps, warmup_fraction=fraction)
    assert all(0 < rate <= 0.1 for rate in found)


def fitted(model, run, data) -> list[float]:
    """The head's rate in each step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.fit(model, datamodule=data)
    (steps,) = (c for c in run.callbacks if hasattr(c, "rates"))
    return [rate["head"] for rate in steps.rates]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (partial(of_torch.StepLR, step_size=2, gamma=0.5), [0.1, 0.1, 0.05]),
        (partial(of_torch.ReduceLROnPlateau, mode="max", patience=0, factor=0.5, threshold=9.0),
         [0.1, 0.1, 0.05]),
    ],
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", ""),
)  # fmt: skip
def test_torch_s_schedulers_count_epochs(make, expected, head, trainer, features, steps) -> None:
    """Fault 13; ReduceLROnPlateau follows val/loss, here as if it had to grow tenfold."""
    model = head(optimizer=SGD, scheduler=make)
    found = fitted(model, trainer(max_epochs=3, callbacks=[steps]), features(6))
    assert found == pytest.approx([rate for rate in expected for _ in range(3)])


@pytest.mark.parametrize(
    ("make", "options", "total", "per_epoch"),
    [
        (schedulers.cosine, {"max_epochs": 2}, 10, 5),
        (schedulers.one_cycle, {"max_epochs": 2, "accumulate_grad_batches": 2}, 6, 3),
        (of_torch.OneCycleLR, {"max_steps": 7}, 7, 5),
        (schedulers.one_cycle, {"max_epochs": 20, "max_steps": 2}, 2, 5),
        (schedulers.one_cycle, {"max_epochs": 2, "limit_train_batches": 2}, 4, 2),
        (schedulers.one_cycle, {"max_epochs": 3, "val_check_interval": 0.4}, 15, 5),
        (schedulers.one_cycle, {"fast_dev_run": True}, 1, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_schedules_fill_the_run(
    make, options, total, per_epoch, head, trainer, features, steps
) -> None:
    """Fault 10: whatever says how long the run is, the schedule ends with it."""
    model = head(optimizer=SGD, scheduler=make)
    run = trainer(**options, callbacks=[steps])
    found = fitted(model, run, features())
    ours = schedulers.cosine if make is schedulers.cosine else schedulers.one_cycle
    assert found == pytest.approx(rates(ours, total, total, per_epoch))
    assert run.lr_scheduler_configs[0].scheduler.length == (total, per_epoch)


def test_options_of_one_cycle_and_the_config_are_honoured(head, trainer, features, steps) -> None:
    make = partial(of_torch.OneCycleLR, max_lr=0.05, pct_start=0.5, cycle_momentum=False)
    model = head(optimizer=SGD, scheduler=make)
    found = fitted(model, trainer(max_epochs=2, callbacks=[steps]), features())
    assert found == pytest.approx(rates(partial(make, total_steps=10), 10))
    model = head(
        optimizer=SGD,
        scheduler=partial(of_torch.ExponentialLR, gamma=0.5),
        scheduler_config={"interval": "step", "frequency": 2},
    )
    steps.rates.clear()
    found = fitted(model, trainer(max_epochs=1, callbacks=[steps]), features())
    assert found == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_a_plateau_waits_for_its_validation(head, trainer, features, steps) -> None:
    make = partial(of_torch.ReduceLROnPlateau, patience=0, factor=0.5, threshold=9.0, mode="max")
    model = head(optimizer=SGD, scheduler=make)
    run = trainer(max_epochs=5, check_val_every_n_epoch=2, callbacks=[steps])
    found = fitted(model, run, features(2))
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05])


def test_a_schedule_needs_the_end_of_the_run(head, trainer, features) -> None:
    with pytest.raises(ConfigError, match="one_cycle needs the number of steps"):
        trainer(max_epochs=-1).fit(head(scheduler=schedulers.one_cycle), datamodule=features())
