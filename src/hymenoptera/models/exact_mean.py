"""Metrics with the same bits whatever the order and the processes that add up their values."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

UNIT = 2.0**-32
LARGEST = 2.0**16  # beyond it, the sum of many values could leave 64 bits


class ExactMean(Metric):
    """Mean of float32 values, summed as whole multiples of 2^-32.

    Sums of whole numbers do not depend on their order, sums of floats do. A value is rounded by
    2^-33 at most. Values beyond 2^16, infinities and NaN are summed as floats.
    """

    full_state_update = False
    total: Tensor
    rest: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("rest", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add values (N,); nothing is read back from the device."""
        values = values.detach().float()
        usual = values.abs() < LARGEST  # False for NaN
        zero = torch.zeros_like(values)
        self.total += (torch.where(usual, values, zero) / UNIT).round().long().sum()
        self.rest += torch.where(usual, zero, values).sum()
        self.count += len(values)

    def compute(self) -> Tensor:
        """The mean, () float32."""
        # in Python's floats: a float32 cannot hold the sum, and not every device has float64
        exact = int(self.total) * UNIT / max(1, int(self.count))
        return self.rest / max(1, int(self.count)) + exact


class BalancedAccuracy(Metric):
    """Mean recall of the classes that have an image, each class with the same weight."""

    full_state_update = False
    hits: Tensor
    counts: Tensor

    def __init__(self, class_count: int, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("hits", torch.zeros(class_count, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(class_count, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (N, C) and labels (N,)."""
        size = len(self.counts)
        self.counts += labels.bincount(minlength=size)
        self.hits += labels[logits.argmax(dim=1) == labels].bincount(minlength=size)

    def compute(self) -> Tensor:
        """() float32; NaN of no images."""
        there = self.counts > 0
        return (self.hits[there] / self.counts[there]).mean()
