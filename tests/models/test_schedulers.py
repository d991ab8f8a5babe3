"""Schedules: the rate at the points that define them."""

import pytest
import torch

from hymenoptera.models import schedulers


def rates(make, steps: int, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    schedule = make(optimizer, steps, 10, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_warms_up_and_falls_to_zero() -> None:
    found = rates(schedulers.cosine, 100, warmup_fraction=0.1)
    assert found[0] == pytest.approx(0.001)
    assert max(found) == found[10] == pytest.approx(0.1)
    assert found[55] == pytest.approx(0.05)
    assert found[-1] < 1e-4
    assert found[10:] == sorted(found[10:], reverse=True)


def test_cosine_without_warm_up_starts_at_the_rate() -> None:
    assert rates(schedulers.cosine, 10, warmup_fraction=0.0)[0] == pytest.approx(0.1)


def test_one_cycle_peaks_at_the_rate() -> None:
    found = rates(schedulers.one_cycle, 100, warmup_fraction=0.3)
    assert max(found) == pytest.approx(0.1)
    assert found.index(max(found)) == 29
    assert found[-1] < found[0] < 0.01


def test_step_multiplies_after_every_few_epochs() -> None:
    found = rates(schedulers.step, 60, step_epochs=2, gamma=0.1)
    assert found[19] == pytest.approx(0.1)
    assert found[20] == pytest.approx(0.01)
    assert found[40] == pytest.approx(0.001)
