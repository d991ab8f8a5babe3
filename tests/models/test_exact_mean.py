"""A mean that depends neither on the order nor on who adds up what."""

import math

import pytest
import torch

from hymenoptera.models.exact_mean import ExactMean


def mean_of(*batches: torch.Tensor) -> float:
    metric = ExactMean()
    for batch in batches:
        metric.update(batch)
    return float(metric.compute())


def test_order_and_batches_make_no_difference() -> None:
    torch.manual_seed(0)
    values = torch.rand(5000).mul(12).exp().sub(1)  # from 0 to 160,000, as losses are at worst
    whole = mean_of(values)
    assert whole == pytest.approx(math.fsum(values.tolist()) / 5000, rel=1e-6)
    usual = values[values < 2**16]
    expected = mean_of(usual)
    assert expected == pytest.approx(math.fsum(usual.tolist()) / len(usual), rel=6e-8)
    for size in (1, 7, 999):
        shuffled = usual[torch.randperm(len(usual))]
        assert mean_of(*shuffled.split(size)) == expected  # to the last bit


def test_what_is_no_number_is_not_hidden() -> None:
    assert math.isnan(mean_of(torch.tensor([1.0, float("nan")])))
    assert mean_of(torch.tensor([1.0, float("inf")])) == math.inf
    assert mean_of(torch.tensor([1e30, 1e30])) == pytest.approx(1e30)
