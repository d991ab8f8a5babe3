"""Metrics of many resamples at a time: each picture counts as often as it was drawn.

Each metric is a function of weights (R, N), a row a resample of the N pictures, and gives (R,).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hymenoptera.results.metrics import Judgement

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 1000
BINS = 10
BLOCK = 2**22  # weights at a time


def _log_loss(weights: Floats, judgement: "Judgement") -> Floats:
    found: Floats = (weights * judgement.losses).sum(axis=1) / weights.sum(axis=1)
    return found


def _brier_score(weights: Floats, judgement: "Judgement") -> Floats:
    """Source: Brier, 1950: squared distance to the truth, 0 to 2."""
    truth = np.eye(len(judgement.classes))[judgement.labels]
    distances = ((judgement.probabilities - truth) ** 2).sum(axis=1)
    found: Floats = (weights * distances).sum(axis=1) / weights.sum(axis=1)
    return found


def _balanced_accuracy(weights: Floats, judgement: "Judgement") -> Floats:
    """Mean recall of the classes that are there."""
    counts, hits, _ = _class_counts(weights, judgement)
    return _mean_share(hits, counts)


def _macro_f1(weights: Floats, judgement: "Judgement") -> Floats:
    """Mean F1 of the classes that are there or predicted."""
    counts, hits, predicted = _class_counts(weights, judgement)
    return _mean_share(2 * hits, counts + predicted)


def calibration_error(weights: Floats, judgement: "Judgement") -> Floats:
    """Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, eq. 3."""
    sure = judgement.probabilities.max(axis=1)
    gaps = weights * (sure - (judgement.predicted == judgement.labels))
    found: Floats = np.abs(_sums(gaps, bins_of(sure, BINS), BINS)).sum(axis=1) / weights.sum(axis=1)
    return found


METRICS: dict[str, Callable[[Floats, "Judgement"], Floats]] = {
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "brier_score": _brier_score,
    "expected_calibration_error": calibration_error,
}


def resamples(count: int) -> Iterator[Floats]:
    """How often each picture is drawn, (R, N) a block, RESAMPLES rows in all."""
    generator = np.random.default_rng(0)
    rows = max(1, min(RESAMPLES, BLOCK // count))
    for first in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - first)
        draws = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(draws.ravel(), minlength=size * count)
        yield times.reshape(size, count).astype(np.float64)


def _class_counts(weights: Floats, judgement: "Judgement") -> tuple[Floats, Floats, Floats]:
    """(R, C) each: pictures of a class, those of them that are right, those predicted as it."""
    labels, predicted, size = judgement.labels, judgement.predicted, len(judgement.classes)
    hits = _sums(weights * (labels == predicted), labels, size)
    return _sums(weights, labels, size), hits, _sums(weights, predicted, size)


def _sums(weights: Floats, groups: Integers, count: int) -> Floats:
    """(R, count): of each row, the sum over each group of pictures."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    found = np.zeros((len(weights), count))
    found[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return found


def _mean_share(parts: Floats, wholes: Floats) -> Floats:
    """(R,): the mean over the classes of (R, C) that have a whole."""
    shares = np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
    found: Floats = shares.sum(axis=1) / (wholes > 0).sum(axis=1)
    return found


def bins_of(sure: Floats, bins: int) -> Integers:
    """Which of equally wide bins each probability falls into, from 0."""
    found: Integers = np.minimum((sure * bins).astype(np.int64), bins - 1)
    return found
