"""What figures on a few pictures are worth: intervals, paired tests, and the luck of the best.

Runs are compared on the same pictures. A run's answers are an array of 0 and 1, one a picture; a
setting that was repeated with other seeds has a row of them for each repeat. Both the repeats and
the pictures are samples: what is said of a setting should hold with another seed, and on other
pictures of the kind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEED_SCATTER = 0.016
"""Standard deviation of accuracy from seed to seed that is allowed for where a setting has a single
run. More than the 0.003 to 0.010 that this project's recipes showed on 153 pictures."""


def wilson_interval(
    successes: float, count: float, z: float = 1.959963984540054
) -> tuple[float, float]:
    """Interval for a proportion that holds its level on small samples and near 0 and 1.

    Args:
        successes: how many were right.
        count: of how many, at least 1.
        z: quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper end, on the scale 0 to 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share = successes / count
    spread = z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Repeats:
    """A setting's answers, or the differences between two settings' answers.

    Attributes:
        values: (K, N), a row a repeat, a column a picture; NaN where a fold does not have it.
    """

    values: Array

    @cached_property
    def is_whole(self) -> bool:
        """Whether each repeat has every picture."""
        return not np.isnan(self.values).any()

    @cached_property
    def mean(self) -> float:
        """Over all answers."""
        return float(np.nanmean(self.values))

    @cached_property
    def of_repeats(self) -> Array:
        """(K,) the mean of each repeat."""
        return self._mean(axis=1)

    @cached_property
    def of_pictures(self) -> Array:
        """(N,) the mean of each picture."""
        return self._mean(axis=0)

    def _mean(self, axis: int) -> Array:
        mean = np.mean if self.is_whole else np.nanmean  # the latter takes ten times as long
        found: Array = mean(self.values, axis=axis)
        return found

    def variances(self) -> tuple[float, float, float]:
        """Variance of the mean as seen over repeats, over pictures, and what both share."""
        repeats, count = self.values.shape
        over_pictures = float(np.var(self.of_pictures, ddof=1)) / count
        if repeats == 1:
            return 0.0, over_pictures, 0.0
        over_repeats = float(np.var(self.of_repeats, ddof=1)) / repeats
        if not self.is_whole:  # folds: the spread of pictures is in that of the repeats
            return over_repeats, over_pictures, min(over_repeats, over_pictures)
        rest = self.values - self.of_repeats[:, None] - self.of_pictures[None, :] + self.mean
        freedom = (repeats - 1) * (count - 1)
        return over_repeats, over_pictures, float((rest**2).sum()) / freedom / rest.size

    def total(self) -> tuple[float, float]:
        """Variance of the mean over both, and its degrees of freedom (Satterthwaite, 1946)."""
        repeats, count = self.values.shape
        first, second, shared = self.variances()
        variance = first + second - shared
        squares = [
            first**2 / max(1, repeats - 1),
            second**2 / max(1, count - 1),
            shared**2 / max(1, (repeats - 1) * (count - 1)),
        ]
        return variance, max(1.0, variance**2 / sum(squares)) if any(squares) else 1.0


def repeated_interval(answers: Array) -> tuple[float, float]:
    """95 % interval for a setting's accuracy, over its repeats and over pictures.

    Args:
        answers: (K, N) of 0 and 1, NaN where a fold does not have the picture.

    Returns:
        Lower and upper end on the scale 0 to 1: Wilson's interval, of as many independent
        pictures as would have the variance that was seen (crossed random effects), with the
        quantile of Student's t. Of a single repeat it is Wilson's own.

    Source: Dean and Pagano, "Evaluating confidence interval methods for binomial proportions in
    clustered surveys", 2015.
    """
    repeats, count = answers.shape
    found = Repeats(answers)
    if repeats == 1:
        return wilson_interval(float(np.nansum(answers)), count)
    share, (variance, freedom) = found.mean, found.total()
    all_answers = float(np.isfinite(answers).sum())
    effective = min(share * (1 - share) / variance, all_answers) if variance > 0 else count
    z = float(_special().stdtrit(freedom, 0.975))
    return wilson_interval(share * effective, effective, z)


def repeats_test(first: Array, second: Array) -> float:
    """Two-sided p of no difference between two settings, repeats and pictures both being chance.

    A t test of the mean difference. Its variance is that over pictures plus that over repeats,
    which two equal settings have in common: that of seeds is from both settings' own spread, that
    of folds, which are harder or easier for both, from the spread of their differences. A single
    run says nothing of how its setting scatters from seed to seed: `SEED_SCATTER` is allowed for.

    Args:
        first: (K, N) of 0 and 1, NaN where a fold does not have the picture.
        second: the same repeats and pictures, of the other setting.
    """
    difference = Repeats(first - second)
    repeats, count = difference.values.shape
    if not difference.mean:
        return 1.0
    over_repeats, over_pictures, _ = difference.variances()
    freedom = float(repeats - 1)
    if repeats == 1:
        over_repeats, freedom = 2 * SEED_SCATTER**2, math.inf
    elif difference.is_whole:
        spreads = [np.var(Repeats(values).of_repeats, ddof=1) for values in (first, second)]
        over_repeats, freedom = float(sum(spreads)) / repeats, 2 * freedom
    parts = over_repeats**2 / freedom + over_pictures**2 / max(1, count - 1)
    if not parts:
        return 0.0  # each picture and each repeat differs by the same
    t = abs(difference.mean) / math.sqrt(over_repeats + over_pictures)
    return 2 * float(_special().stdtr((over_repeats + over_pictures) ** 2 / parts, -t))


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
            shares = np.convolve(shares, spaced)
    sums = 2 * np.arange(len(shares)) - np.abs(whole).sum()
    return min(1.0, float(shares[np.abs(sums) >= abs(whole.sum())].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values so that the chance of any false alarm among them stays below the level.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def against_best(settings: Sequence[Array], best: int) -> list[float | None]:
    """The p of each setting's difference to the best, corrected for the number of comparisons.

    Of a pair, the larger of two: the exact test over pictures, and `repeats_test`. Neither seeds
    that happen to agree nor pictures that one lucky seed got right suffice. Holm-corrected over
    all pairs of settings, because which one is the best was not known before: with the pairs of
    the best alone, the false alarms among eight equal settings are more than twice as many.

    Args:
        settings: (K, N) answers each, a row a repeat and a column a picture that any setting
            has; NaN where this one does not.
        best: which of them is the best.

    Returns:
        p of each; None for the best itself, and where it has no repeat in common with the best.
    """
    found = {}
    for i, first in enumerate(settings):
        for j, second in enumerate(settings[:i]):
            difference = first - second
            both = ~np.isnan(difference)
            if both.any():
                common = np.ix_(both.any(axis=1), both.any(axis=0))
                over_pictures = sign_flip_test(np.nansum(difference[common], axis=0))
                found[i, j] = max(over_pictures, repeats_test(first[common], second[common]))
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    return [adjusted.get((max(i, best), min(i, best))) for i in range(len(settings))]


def optimism_of_best(scores: Array, *, draws: int = 2000, seed: int = 0) -> float:
    """By how much the best of several accuracies on one validation set is too high, on average.

    A bootstrap over the pictures: the best on pictures drawn with replacement is chosen by its
    luck on them, and its accuracy there less that on all pictures is what the choice adds.

    Args:
        scores: (R, N) of R settings, the share of repeats that are right, a column a picture.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        On the scale 0 to 1, at least 0.

    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 17.
    """
    count = scores.shape[1]
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=draws) / count
    drawn = weights @ scores.T  # (draws, R)
    chosen = drawn.argmax(axis=1)
    gain = drawn[np.arange(draws), chosen] - scores.mean(axis=1)[chosen]
    return max(0.0, float(gain.mean()))


@lru_cache(maxsize=512)
def _binomial(count: int) -> Array:
    """How likely each number of heads is in so many fair tosses."""
    heads, log_factorial = np.arange(count + 1), _special().gammaln(np.arange(count + 1) + 1.0)
    ways = log_factorial[-1] - log_factorial[heads] - log_factorial[count - heads]
    shares: Array = np.exp(ways - count * math.log(2))
    return shares


def _special() -> Any:
    import scipy.special  # a part of a second, which most commands can do without

    return scipy.special
