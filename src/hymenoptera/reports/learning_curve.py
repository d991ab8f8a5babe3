"""Would more images help? A curve through the accuracies at several sizes of the training set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hymenoptera.reports.statistics import Array
from hymenoptera.reports.sweep import REPEATED, Configuration

DECAYS = np.linspace(0.1, 2.0, 39)  # b of the curve that are tried
DRAWS = 1000  # of the bootstrap
SIZES = ("data.train_fraction", "data.train_per_class")  # keys that say how many images there are
MIN_SIZES = 3  # as many as the curve has parameters


@dataclass(frozen=True)
class LearningCurve:
    """The error over n training images, a n^-b + c, fitted to measured accuracies.

    Source: Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017.

    Attributes:
        sizes: (K,) numbers of training images, ascending.
        accuracies: (K,) means over the repeats.
        grid: (G,) numbers of images, up to twice the largest size.
        curve: (G,) accuracy by the fitted curve.
        low: (G,) lower end of its 95 % interval.
        high: (G,) upper end.
        gain: accuracy at twice the largest size less that at the largest, by the curve.
        gain_interval: its 95 % interval.
    """

    sizes: list[int]
    accuracies: list[float]
    grid: list[int]
    curve: list[float]
    low: list[float]
    high: list[float]
    gain: float
    gain_interval: tuple[float, float]

    @property
    def sentence(self) -> str:
        """What twice as many images would bring."""
        low, high = (100 * end for end in self.gain_interval)
        return (
            f"Twice as many images, {2 * self.sizes[-1]}, would bring {100 * self.gain:+.1f} "
            f"points of accuracy (95 % interval {low:+.1f} to {high:+.1f}), if the curve continues."
        )

    def as_dict(self) -> dict[str, Any]:
        """As sweep.json has it."""
        return {**asdict(self), "sentence": self.sentence}


def fit_learning_curve(correct: Mapping[int, Array]) -> LearningCurve | None:
    """Fit the curve; its interval is from resampled images and repeats.

    Args:
        correct: by the number of training images (R, N) of 0, 1: for each repeat and each of N
            validation images, the same for all sizes, whether it was right.

    Returns:
        None of fewer than MIN_SIZES sizes.
    """
    sizes = sorted(correct)
    if len(sizes) < MIN_SIZES:
        return None
    values = [np.asarray(correct[size], float) for size in sizes]
    grid = np.unique(np.geomspace(sizes[0], 2 * sizes[-1], 40).round().astype(int))
    grid = np.union1d(grid, sizes)
    errors = np.array([1 - one.mean() for one in values])
    draws = _resampled(values)
    noise = draws.var(axis=0) + 1 / values[0].shape[1] ** 2
    (fitted,) = _fit(errors[None], sizes, noise, grid)  # (G,)
    curves = _fit(draws, sizes, noise, grid)  # (DRAWS, G)
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    last = int(np.searchsorted(grid, sizes[-1]))
    gains = curves[:, last] - curves[:, -1]
    ends = np.percentile(gains, [2.5, 97.5])
    return LearningCurve(
        sizes,
        (1 - errors).tolist(),
        grid.tolist(),
        (1 - fitted).tolist(),
        (1 - high).tolist(),
        (1 - low).tolist(),
        float(fitted[last] - fitted[-1]),
        (float(ends[0]), float(ends[1])),
    )


def learning_curves(configurations: Sequence[Configuration]) -> list[dict[str, Any]]:
    """A curve for each way to train of which a sweep has several sizes, with its `label`."""
    groups: dict[str, dict[int, list[Configuration]]] = {}
    for one in configurations:
        sizes = [result.summary.data.get("train_count") for result in one.done]
        if sizes and sizes[0] and any(key in one.values for key in SIZES):
            label = " ".join(f"{k}={v}" for k, v in one.values.items() if k not in SIZES)
            groups.setdefault(label, {}).setdefault(sizes[0], []).append(one)
    found = []
    for label, by_size in groups.items():
        curve = fit_learning_curve(_correct(by_size))
        if curve is not None:
            intervals = [by_size[size][0].interval for size in curve.sizes]
            found.append({"label": label, "intervals": intervals, **curve.as_dict()})
    return found


def _correct(by_size: Mapping[int, Sequence[Configuration]]) -> dict[int, Array]:
    """(R, N) for each size: a row a seed, its folds together, a column an image that all have."""
    rows: dict[int, dict[str, dict[tuple[str, str], float]]] = {}
    for size, configurations in by_size.items():
        for result in (result for one in configurations for result in one.done):
            seed = result.overrides.get(REPEATED[0], "")
            rows.setdefault(size, {}).setdefault(seed, {}).update(result.correct)
    repeats = [own for of_size in rows.values() for own in of_size.values()]
    images = sorted(set.intersection(*(set(own) for own in repeats)))
    return {
        size: np.array([[own[image] for image in images] for own in of_size.values()])
        for size, of_size in rows.items()
        if images
    }


def _resampled(values: Sequence[Array]) -> Array:
    """(DRAWS, K) errors of draws of the images, the same at all sizes, and of each's repeats."""
    generator, count = np.random.default_rng(0), values[0].shape[1]
    images = generator.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    errors = []
    for one in values:  # (R, N)
        weights = np.full(len(one), 1 / len(one))
        repeats = generator.multinomial(len(one), weights, size=DRAWS) / len(one)
        errors.append(1 - (repeats @ one * images).sum(axis=1))
    return np.stack(errors, axis=1)


def _fit(errors: Array, sizes: Sequence[int], noise: Array, grid: Array) -> Array:
    """The curves (D, G) of least squares through errors (D, K), with a and c not negative."""
    weights = 1 / noise
    best = np.full(len(errors), np.inf)
    curves = np.zeros((len(errors), len(grid)))
    for decay in DECAYS:
        x = (np.asarray(sizes, float) / sizes[0]) ** -decay
        mean_x, mean_y = np.average(x, weights=weights), np.average(errors, axis=1, weights=weights)
        slope = ((x - mean_x) * weights * (errors - mean_y[:, None])).sum(axis=1)
        slope = np.maximum(slope / ((x - mean_x) ** 2 * weights).sum(), 0)  # a
        floor = mean_y - slope * mean_x  # c
        through_zero = (errors * x * weights).sum(axis=1) / (x * x * weights).sum()
        slope, floor = np.where(floor < 0, [through_zero, 0 * floor], [slope, floor])
        loss = ((errors - slope[:, None] * x - floor[:, None]) ** 2 * weights).sum(axis=1)
        better = loss < best
        best = np.where(better, loss, best)
        own = slope[:, None] * (grid / sizes[0]) ** -decay + floor[:, None]
        curves[better] = own[better]
    return curves
