"""Which configurations are worse than the best, where all were tried on the same images.

Two tests have to say it: one over the repeats and the images together, and an exact one over the
images. Among many that are equal some pair is far apart, and the p values allow for that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hymenoptera.reports.statistics import Array, Repeats, own_values, seed_variance, t_quantile


@dataclass(frozen=True)
class Comparison:
    """A configuration against the best one, on the images and repeats that both have."""

    difference: float  # its accuracy less that of the best
    interval: tuple[float, float]  # 95 % of the difference, of this pair by itself
    p: float  # of there being no difference, corrected for the number of configurations


def compare_with_best(configurations: Sequence[Array], best: int) -> list[Comparison | None]:
    """Compare each configuration with the best; None for itself, and for those that share nothing.

    Configurations are (K, N) correctness each, a row a repeat and a column an image that any of
    them has. Step by step as Holm's: the one that is furthest from the best is compared first,
    among all, and the next one among those that are left: one that collapses, and scatters as those
    do, says nothing of how the others scatter.

    Source: Newman, 1939, and Keuls, 1952, for pairs of which the best is one; Holm, "A simple
    sequentially rejective multiple test procedure", 1979, for the exact test.
    """
    comparisons: list[Comparison | None] = [None] * len(configurations)
    pairs = {
        i: Repeats(common)
        for i, values in enumerate(configurations)
        if i != best and (common := own_values(configurations[best] - values)).size
    }
    highest = 0.0
    while pairs:
        variance, freedom = seed_variance([configurations[i] for i in (best, *pairs)])
        variances = {i: pair.variance(2 * variance, freedom) for i, pair in pairs.items()}
        errors = {i: (math.sqrt(total), own) for i, (total, own) in variances.items()}
        furthest = max(pairs, key=lambda i: _distance(pairs[i].mean, errors[i][0]))
        pair, (error, freedom), count = pairs[furthest], errors[furthest], len(pairs) + 1
        exact = sign_flip_test(np.nansum(pair.values, axis=0)) * math.comb(count, 2)
        over_all = range_p(_distance(pair.mean, error), freedom, count)
        highest = max(highest, over_all, min(1.0, exact))
        half = error * t_quantile(freedom)
        comparisons[furthest] = Comparison(
            -pair.mean, (-pair.mean - half, half - pair.mean), highest if pair.mean > 0 else 1.0
        )
        del pairs[furthest]
    return comparisons


def sign_flip_test(differences: Array) -> float:
    """Exact two-sided p of a sum of differences, each as likely to have the other sign.

    Differences are (N,) whole numbers: by how many repeats an image is correct more often. Where
    they are -1, 0 and 1 this is McNemar's exact test.

    Source: Fisher, "The design of experiments", 1935; McNemar, 1947.
    """
    from scipy.signal import oaconvolve
    from scipy.stats import binom, binomtest

    whole = np.rint(differences).astype(int)
    counts = np.bincount(np.abs(whole))
    if len(counts) <= 2:
        wins = int((whole > 0).sum())
        return float(binomtest(wins, counts[1]).pvalue) if counts[1:].any() else 1.0
    chances = np.ones(1)  # of the sums that the signs make, from -total to total in steps of 2
    for size, count in enumerate(counts[1:], start=1):
        if count:
            spaced = np.zeros(size * count + 1)
            spaced[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
            chances = np.clip(oaconvolve(chances, spaced), 0, None)
    sums = 2 * np.arange(len(chances)) - np.abs(whole).sum()
    return min(1.0, float(chances[np.abs(sums) >= abs(whole.sum())].sum()))


def range_p(distance: float, freedom: float, count: int) -> float:
    """How likely, of so many equal configurations, some pair is so many standard errors apart.

    Source: Tukey, "The problem of multiple comparisons", 1953.
    """
    from scipy.stats import studentized_range

    if distance <= 0 or math.isinf(distance):
        return float(distance <= 0)
    return float(studentized_range.sf(distance * math.sqrt(2), count, freedom))


def _distance(mean: float, error: float) -> float:
    if error:
        return mean / error
    return math.copysign(math.inf, mean) if mean else 0.0
