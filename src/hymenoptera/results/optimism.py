"""The luck in the best of several accuracies."""

import math
from collections.abc import Sequence

import numpy as np

from hymenoptera.results.statistics import Array, Repeats

STEPS = 300  # of the fit
BLOCK = 100  # draws that are in memory at a time
WIDENED = 1.5
"""Of a few accuracies the most likely distribution is wider than it truly is: what was seen of each
counts as this much less certain. By simulation, with benchmarks/sweep_statistics.py."""


def optimism_of_best(settings: Sequence[Array], *, draws: int = 2000, seed: int = 0) -> float:
    """By how much the best of several accuracies on one validation set is too high, on average.

    A bootstrap over the pictures, and over the seeds where settings are repeated: how much luck
    the winner has on pictures drawn with replacement. The accuracies that luck is added to are not
    those that were seen, in which the same luck is already: they are drawn from the distribution
    of true accuracies under which what was seen is the most likely.

    Args:
        settings: (K, N) answers each, a row a repeat and a column a picture; NaN where a fold
            does not have it.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        On the scale 0 to 1, at least 0.

    Source: Efron, "Tweedie's formula and selection bias", 2011; Kiefer and Wolfowitz, 1956; Efron
    and Tibshirani, "An introduction to the bootstrap", 1993, chapter 17.
    """
    if len(settings) < 2:
        return 0.0
    generator = np.random.default_rng(seed)
    scores = np.array([Repeats(answers).of_pictures for answers in settings])
    count = scores.shape[1]
    # pictures that all settings answer alike are drawn together: there are many, of few kinds
    kinds, counts = np.unique(scores, axis=1, return_counts=True)
    resampled = [
        generator.multinomial(count, counts / count, size=BLOCK) @ kinds.T / count
        for _ in range(math.ceil(draws / BLOCK))
    ]
    luck = np.concatenate(resampled)[:draws] - scores.mean(axis=1)  # (draws, settings)
    repeats = np.array([len(answers) for answers in settings])
    deviations = np.where(repeats > 1, _seed_scatter(settings), 0.0) / np.sqrt(repeats)
    luck += generator.normal(size=luck.shape) * deviations
    luck -= luck.mean(axis=1, keepdims=True)  # what all have chooses none
    truth = _plausible(scores.mean(axis=1), luck.var(axis=0), draws, generator)
    best = int(scores.mean(axis=1).argmax())
    wins = (truth + luck).argmax(axis=1) == best
    return max(0.0, float(luck[wins, best].mean())) if wins.any() else 0.0


def _seed_scatter(settings: Sequence[Array]) -> float:
    """Standard deviation of accuracy from seed to seed, beyond what a run's pictures explain.

    By the median over the settings: those that collapse scatter most and do not win. A single run
    is what it is, its seed's luck is in its checkpoint; and folds are of other pictures each.
    """
    from scipy.special import gammaincinv

    nets = []
    for found in (Repeats(answers) for answers in settings if len(answers) > 1):
        if found.is_whole:
            half = (len(found.values) - 1) / 2  # of the degrees of freedom of a variance
            median = float(gammaincinv(half, 0.5)) / half
            nets.append(len(found.values) * (found.over_repeats / median - found.shared))
    return math.sqrt(max(0.0, float(np.median(nets)))) if nets else 0.0


def _plausible(seen: Array, luck: Array, draws: int, generator: np.random.Generator) -> Array:
    """(draws, R) true accuracies, as likely as what was seen makes them.

    Their distribution, on the accuracies that were seen, is that of the highest likelihood.

    Args:
        seen: (R,) accuracies.
        luck: (R,) variance of each.
        draws: how many.
        generator: of the draws.
    """
    luck = WIDENED * luck * len(seen) / (len(seen) - 1) + 1e-12
    likelihood = np.exp(-((seen[:, None] - seen) ** 2) / (2 * luck[:, None]))
    shares = np.full(len(seen), 1 / len(seen))
    for _ in range(STEPS):
        posterior = likelihood * shares
        posterior /= posterior.sum(axis=1, keepdims=True)
        shares = posterior.mean(axis=0)
    return np.stack([generator.choice(seen, size=draws, p=row) for row in posterior], axis=1)
