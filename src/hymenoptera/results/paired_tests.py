"""Which settings are worse than the best, where all were tried on the same pictures.

A setting that is the same as the best differs from it by the luck of its seeds and of the
pictures. Two tests have to say that it is more: one over the repeats and the pictures together,
and an exact one over the pictures. Which setting is the best was not known before: among many that
are the same some pair is far apart, and the p values allow for that.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hymenoptera.results.statistics import Array, Repeats, own_answers

SEED_SCATTER = 0.02
"""Standard deviation of accuracy from seed to seed that is allowed for where nothing shows it: no
setting has a second run. Twice the most that this project's recipes showed on 153 pictures."""


def against_best(settings: Sequence[Array], best: int) -> list[float | None]:
    """The p of each setting being the same as the best, corrected for the number of settings.

    Step by step as Holm's: the setting that is furthest from the best is compared first, among
    all; the next one among those that are left. So a setting that collapses, and scatters as
    those do, says nothing of how the others scatter once it is told apart itself.

    Args:
        settings: (K, N) answers each, a row a repeat and a column a picture that any setting
            has; NaN where this one does not.
        best: which of them is the best.

    Returns:
        p of each; 1 where it is not below the best on what both have, None for the best itself,
        and where it has no repeat in common with the best.

    Source: Newman, 1939, and Keuls, 1952, for pairs of which the best is one; Holm, "A simple
    sequentially rejective multiple test procedure", 1979, for the exact test.
    """
    found: list[float | None] = [None] * len(settings)
    pairs = {
        i: pair
        for i, answers in enumerate(settings)
        if i != best and (pair := _common(settings[best] - answers)) is not None
    }
    exact = {i: sign_flip_test(np.nansum(pair.values, axis=0)) for i, pair in pairs.items()}
    highest = 0.0
    while pairs:
        scatter = seed_scatter([settings[best], *(settings[i] for i in pairs)])
        distances = {i: _distance(pair, scatter) for i, pair in pairs.items()}
        furthest = max(pairs, key=lambda i: distances[i][0])
        compared = len(pairs) + 1
        p = max(
            range_p(*distances[furthest], compared),
            min(1.0, exact[furthest] * math.comb(compared, 2)),
        )
        highest = max(highest, p)
        found[furthest] = highest if pairs.pop(furthest).mean > 0 else 1.0
    return found


def seed_scatter(settings: Sequence[Array]) -> tuple[float, float, float]:
    """How a run differs from the next of its setting, as all settings together show it.

    Args:
        settings: (K, N) answers each, of the same repeats; NaN where a setting does not have one.

    Returns:
        Variance of a run's accuracy, the part of it that the pictures of a run explain (NaN where
        repeats have other pictures each), and degrees of freedom; those are infinite where no
        setting has a second run and `SEED_SCATTER` stands in.
    """
    found = [Repeats(own_answers(answers)) for answers in settings]
    repeated = [one for one in found if len(one.values) > 1]
    if not repeated:
        return SEED_SCATTER**2, 0.0, math.inf
    if all(one.is_whole for one in repeated):
        weights = [len(one.values) - 1 for one in repeated]
        variances = [len(one.values) * one.over_repeats for one in repeated]
        shared = [len(one.values) * one.shared for one in repeated]
        return (
            float(np.average(variances, weights=weights)),
            float(np.average(shared, weights=weights)),
            float(sum(weights)),
        )
    return _fold_scatter(np.array([_of_repeats(answers) for answers in settings]))


def _of_repeats(answers: Array) -> Array:
    """(K,) the mean of each repeat, NaN of one that a setting does not have."""
    there = ~np.isnan(answers)
    with np.errstate(invalid="ignore"):
        means: Array = np.nansum(answers, axis=1) / there.sum(axis=1)
    return means


def _fold_scatter(means: Array) -> tuple[float, float, float]:
    """The same where a fold is harder or easier for all settings: what is left without that.

    Args:
        means: (settings, folds).
    """
    of_all = means[:, ~np.isnan(means).any(axis=0)]
    count, folds = of_all.shape
    if count < 2 or folds < 2:  # how hard the folds are cannot be told from scatter
        apart = [own for row in means if len(own := row[~np.isnan(row)]) > 1]
        freedom = sum(len(own) - 1 for own in apart)
        squares = sum(float(((own - own.mean()) ** 2).sum()) for own in apart)
        return squares / freedom, math.nan, float(freedom)
    rest = of_all - of_all.mean(axis=0) - of_all.mean(axis=1, keepdims=True) + of_all.mean()
    freedom = (count - 1) * (folds - 1)
    return float((rest**2).sum()) / freedom, math.nan, float(freedom)


def _common(difference: Array) -> Repeats | None:
    both = own_answers(difference)
    return Repeats(both) if both.size else None


def _distance(pair: Repeats, scatter: tuple[float, float, float]) -> tuple[float, float]:
    """The best less another setting, in standard errors, and their degrees of freedom."""
    repeats, count = pair.values.shape
    variance, shared, freedom = scatter
    over_repeats = 2 * variance / repeats
    shared = pair.over_pictures if math.isnan(shared) else 2 * shared / repeats
    total = pair.over_pictures + max(0.0, over_repeats - shared)
    if not total:  # each picture and each repeat differs by the same
        return math.copysign(math.inf, pair.mean) if pair.mean else 0.0, math.inf
    squares = max(over_repeats, shared) ** 2 / freedom
    squares += pair.over_pictures**2 / max(1, count - 1)
    return pair.mean / math.sqrt(total), total**2 / squares if squares else math.inf


def sign_flip_test(differences: Array) -> float:
    """Exact two-sided p of a sum of differences, each as likely to have the other sign.

    Args:
        differences: (N,) whole numbers: by how many repeats a picture is right more often.

    Returns:
        p; where the differences are -1, 0 and 1, that of McNemar's exact test.

    Source: Fisher, "The design of experiments", 1935; McNemar, 1947.
    """
    whole = np.rint(differences).astype(int)
    shares = np.ones(1)  # of the sums that the signs make, from -total to total in steps of 2
    for size, count in enumerate(np.bincount(np.abs(whole))[1:], start=1):
        if count:
            spaced = np.zeros(size * count + 1)
            spaced[::size] = _binomial(int(count))
            shares = _convolve(shares, spaced)
    sums = 2 * np.arange(len(shares)) - np.abs(whole).sum()
    return min(1.0, float(shares[np.abs(sums) >= abs(whole.sum())].sum()))


def range_p(distance: float, freedom: float, settings: int) -> float:
    """How likely some pair of settings is so far apart where all are the same.

    Args:
        distance: of a pair, in standard errors of a difference.
        freedom: degrees of freedom of the standard error.
        settings: among which the pair is.

    Returns:
        Upper tail of the studentized range; of two settings, of Student's t, two-sided.

    Source: Tukey, "The problem of multiple comparisons", 1953. By the trapezoidal rule, to ten
    digits and in a hundredth of the time of scipy.stats.studentized_range.
    """
    from scipy.special import gammaincinv, gammaln, ndtr

    if distance <= 0:
        return 1.0
    if math.isinf(distance):
        return 0.0
    spreads, weights = np.ones(1), np.ones(1)  # of the standard error
    if freedom < 1e5:
        half = freedom / 2
        first, last = (math.log(gammaincinv(half, p) / half) / 2 for p in (1e-11, 1 - 1e-11))
        logs = np.linspace(first, last, 80)
        spreads = np.exp(logs)
        density = freedom * logs - half * spreads**2 + half * math.log(half) - gammaln(half)
        weights = 2 * (logs[1] - logs[0]) * np.exp(density)
    lowest = np.arange(-8, 8.1, 0.2)
    bell = 0.2 / math.sqrt(2 * math.pi) * np.exp(-(lowest**2) / 2)
    within = ndtr(lowest) - ndtr(lowest - distance * math.sqrt(2) * spreads[:, None])
    inside = settings * within ** (settings - 1) @ bell
    return float(np.clip(weights @ (1 - inside), 0, 1))


def _convolve(first: Array, second: Array) -> Array:
    if len(first) * len(second) < 10**7:
        return np.convolve(first, second)
    from scipy.signal import fftconvolve

    found: Array = fftconvolve(first, second)
    return np.clip(found, 0, None)


@lru_cache(maxsize=512)
def _binomial(count: int) -> Array:
    """How likely each number of heads is in so many fair tosses."""
    from scipy.special import gammaln

    heads, log_factorial = np.arange(count + 1), gammaln(np.arange(count + 1) + 1.0)
    ways = log_factorial[-1] - log_factorial[heads] - log_factorial[count - heads]
    shares: Array = np.exp(ways - count * math.log(2))
    return shares
