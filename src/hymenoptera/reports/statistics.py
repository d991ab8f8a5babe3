"""What an accuracy on a few images is worth: its interval, over images and over seeds.

A configuration's correctness is (K, N): a row of 0 and 1 for each repeat, NaN where a fold does not
have the image. What is said should hold with another seed, and on other images of the kind. Two or
three repeats show next to nothing of their scatter, so it is combined with what is expected of
seeds, as a moderated t does: by simulation the intervals hold what they say, unless seeds scatter
by more than twice the expectation.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEED_SCATTER = 0.02  # standard deviation of accuracy over seeds that is expected before any is seen
PRIOR_FREEDOM = 8.0  # degrees of freedom that this is worth: as many as nine repeats
MAX_VALUES = 2**30  # that a bootstrap looks at: some seconds


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion, on the scale 0 to 1; the count is at least 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    from scipy.stats import binomtest  # takes a part of a second, which most commands do without

    interval = binomtest(int(correct), int(count)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


class Repeats:
    """The (K, N) correctness of a configuration, or the differences between two of them."""

    def __init__(self, values: Array) -> None:
        count = values.shape[1]
        self.values = values
        self.is_complete = not np.isnan(values).any()  # repeats are seeds, not folds
        mean = np.mean if self.is_complete else np.nanmean  # the latter takes ten times as long
        self.mean = float(mean(values))
        self.by_repeat, self.by_image = mean(values, axis=1), mean(values, axis=0)
        self.image_variance = float(np.var(self.by_image, ddof=1)) / count if count > 1 else 0.0
        # what is in the variances over images and over repeats counts once
        self.shared_variance = self.image_variance  # folds have their own images
        if self.is_complete:
            rest = values - self.by_repeat[:, None] - self.by_image[None, :] + self.mean
            freedom = max(1, (len(values) - 1) * (count - 1))
            self.shared_variance = float((rest**2).sum() / freedom / rest.size)

    def variance(self, repeat_variance: float, freedom: float) -> tuple[float, float]:
        """Variance of the mean and its degrees of freedom, from those of one repeat's mean.

        Source: Satterthwaite, "An approximate distribution of estimates of variance components",
        1946.
        """
        over_repeats, shared = repeat_variance / len(self.values), self.shared_variance
        total = self.image_variance + max(0.0, over_repeats - shared)
        squares = max(over_repeats, shared) ** 2 / freedom
        squares += self.image_variance**2 / max(1, self.values.shape[1] - 1)
        return total, max(1.0, total**2 / squares) if squares else math.inf


def own_values(values: Array) -> Array:
    """(K, N) without the repeats and images of which all is NaN."""
    known = ~np.isnan(values)
    return values[np.ix_(known.any(axis=1), known.any(axis=0))]


def seed_variance(configurations: Sequence[Array]) -> tuple[float, float]:
    """Variance of a run's accuracy from repeat to repeat, and its degrees of freedom.

    Configurations have the same repeats. A fold that is hard for all of them is no scatter.

    Source: Smyth, "Linear models and empirical Bayes methods for assessing differential
    expression", 2004.
    """
    own = [Repeats(own_values(values)) for values in configurations]
    repeats = np.array([(~np.isnan(values)).any(axis=1) for values in configurations])
    rows, folds = np.nonzero(repeats)
    means = np.concatenate([one.by_repeat for one in own])
    design = np.eye(len(own))[rows]
    if not all(one.is_complete for one in own):
        design = np.hstack([design, np.eye(repeats.shape[1])[folds]])
    effects, _, rank, _ = np.linalg.lstsq(design, means, rcond=None)
    squares = float(((means - design @ effects) ** 2).sum())
    freedom = len(means) - int(rank)
    whole = PRIOR_FREEDOM + freedom
    return (PRIOR_FREEDOM * SEED_SCATTER**2 + squares) / whole, whole


def repeated_interval(values: Array) -> tuple[float, float]:
    """95 % interval for the accuracy of a configuration, over its repeats and over images.

    Wilson's, with Student's t, for as many independent images as would have the variance seen.

    Source: Dean and Pagano, "Evaluating confidence interval methods for binomial proportions in
    clustered surveys", 2015.
    """
    repeats, count = values.shape
    if repeats == 1:
        return wilson(int(np.nansum(values)), count)
    own = Repeats(values)
    variance, freedom = own.variance(*seed_variance([values]))
    share = own.mean
    effective = min(share * (1 - share) / variance, np.isfinite(values).sum()) or count
    spread = t_quantile(freedom) ** 2 / effective
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def t_quantile(freedom: float) -> float:
    """By how many standard errors a 95 % interval extends to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(min(freedom, 1e9), 0.975))


class Comparison(NamedTuple):
    """A configuration against the best one, on the images and repeats that both have."""

    difference: float  # its accuracy less that of the best
    interval: tuple[float, float]  # 95 % of the difference, of this pair by itself
    p: float  # of there being no difference, corrected for the number of configurations


def compare_with_best(configurations: Sequence[Array], best: int) -> list[Comparison | None]:
    """Compare each configuration with the best; None for itself, and for those that share nothing.

    Configurations are (K, N) correctness each, a row a repeat and a column an image that any of
    them has. The one that is furthest from the best is compared first, among all, and the next one
    among those that are left: one that collapses says nothing of how the others scatter. Among many
    that are equal some pair is far apart, and the p values allow for that.

    Source: Newman, 1939, and Keuls, 1952, for pairs of which the best is one.
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
        furthest = max(pairs, key=lambda i: pairs[i].mean / errors[i][0])
        pair, (error, freedom) = pairs[furthest], errors[furthest]
        highest = max(highest, range_p(pair.mean / error, freedom, len(pairs) + 1))
        half = error * t_quantile(freedom)
        comparisons[furthest] = Comparison(
            -pair.mean, (-pair.mean - half, half - pair.mean), highest if pair.mean > 0 else 1.0
        )
        del pairs[furthest]
    return comparisons


def range_p(distance: float, freedom: float, count: int) -> float:
    """How likely, of so many equal configurations, some pair is so many standard errors apart.

    Source: Tukey, "The problem of multiple comparisons", 1953.
    """
    from scipy.stats import studentized_range

    if distance <= 0:
        return 1.0
    return float(studentized_range.sf(distance * math.sqrt(2), count, freedom))


def selection_bias(configurations: Sequence[Array], draws: int = 1000) -> float:
    """By how much the best of several accuracies on one validation set is too high, on average.

    A bootstrap over images, and over seeds where there are repeats: the best by those that were
    drawn is evaluated on the others.

    Source: Tsamardinos et al., "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation", 2018.
    """
    if len(configurations) < 2:
        return 0.0
    generator = np.random.default_rng(0)
    count = configurations[0].shape[1]
    draws = min(draws, 1 + MAX_VALUES // sum(values.size for values in configurations))
    held_out = []
    for _ in range(draws):
        weights = np.bincount(generator.integers(0, count, count), minlength=count)
        out = weights == 0
        selected, evaluated = [], []
        for values in configurations:
            repeats = generator.permutation(len(values))
            some, others = values[repeats[1:]], values[repeats[:1]]
            some = some if len(some) else others  # one run: seeds are not seen to scatter
            selected.append((some @ weights).mean() / count)
            evaluated.append(others[:, out].mean() if out.any() else 0.0)
        held_out.append(evaluated[int(np.argmax(selected))])
    return max(0.0, float(max(map(np.mean, configurations)) - np.mean(held_out)))
