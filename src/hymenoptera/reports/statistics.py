"""What an accuracy on a few images is worth: its interval, over images and over seeds.

A configuration's correctness is (K, N): a row of 0 and 1 for each repeat, NaN where a fold does not
have the image. What is said should hold with another seed, and on other images of the kind. Two or
three repeats show next to nothing of their scatter, so it is combined with what is expected of
seeds, as a moderated t does: by simulation the intervals hold what they say, unless seeds scatter
by more than twice the expectation.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEED_SCATTER = 0.02  # standard deviation of accuracy over seeds that is expected before any is seen
PRIOR_FREEDOM = 8.0  # degrees of freedom that this is worth: as many as nine repeats
BIAS_STEPS = 300  # of the fit of true accuracies
MAX_VALUES = 2**25  # in memory
WIDENED = 1.5  # variance: the most likely distribution of few accuracies is too wide (simulated)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion, on the scale 0 to 1; the count is at least 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    from scipy.stats import binomtest  # takes a part of a second, which most commands do without

    interval = binomtest(int(correct), int(count)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


class Repeats:
    """The (K, N) correctness of a configuration, or the differences between two of them.

    Attributes:
        is_complete: whether each repeat has every image: repeats are seeds, not folds.
        mean: over all values; `by_repeat` (K,) and `by_image` (N,).
        image_variance: of the mean, as the images show it.
        shared_variance: what is in the variances over images and over repeats; it counts once.
    """

    def __init__(self, values: Array) -> None:
        count = values.shape[1]
        self.values = values
        self.is_complete = not np.isnan(values).any()
        mean = np.mean if self.is_complete else np.nanmean  # the latter takes ten times as long
        self.mean = float(mean(values))
        self.by_repeat, self.by_image = mean(values, axis=1), mean(values, axis=0)
        self.image_variance = float(np.var(self.by_image, ddof=1)) / count if count > 1 else 0.0
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
    if all(one.is_complete for one in own):
        squares = sum(float(((one.by_repeat - one.mean) ** 2).sum()) for one in own)
        freedom = sum(len(one.values) - 1 for one in own)
    else:
        known = [~np.isnan(values) for values in configurations]
        repeats = np.array([k.any(axis=1) for k in known])
        rows, folds = np.nonzero(repeats)
        means = np.concatenate([one.by_repeat for one in own])
        design = np.hstack([np.eye(len(own))[rows], np.eye(repeats.shape[1])[folds]])
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


def selection_bias(configurations: Sequence[Array], draws: int = 2000) -> float:
    """By how much the best of several accuracies on one validation set is too high, on average.

    A bootstrap over images, and over seeds if there are repeats: how far chance puts the winner
    ahead. The accuracies that this noise is added to are not those that were seen, which contain
    it already, but drawn from the distribution of true accuracies of the highest likelihood.

    Source: Efron, "Tweedie's formula and selection bias", 2011; Kiefer and Wolfowitz, 1956; Efron
    and Tibshirani, "An introduction to the bootstrap", 1993, chapter 17.
    """
    if len(configurations) < 2:
        return 0.0
    generator = np.random.default_rng(0)
    scores = np.array([Repeats(values).by_image for values in configurations])
    count, seen = scores.shape[1], scores.mean(axis=1)
    # images that all configurations answer the same are drawn together: many, of few kinds
    kinds, counts = np.unique(scores, axis=1, return_counts=True)
    draws = min(draws, MAX_VALUES // len(counts))
    noise = generator.multinomial(count, counts / count, size=draws) @ kinds.T / count - seen
    repeats = np.array([len(values) for values in configurations])
    deviations = np.where(repeats > 1, _seed_scatter(configurations), 0.0) / np.sqrt(repeats)
    noise += generator.normal(size=noise.shape) * deviations
    noise -= noise.mean(axis=1, keepdims=True)  # what all have in common selects none
    variances = WIDENED * noise.var(axis=0) * len(seen) / (len(seen) - 1) + 1e-12
    # the distribution of true accuracies, on those that were seen
    likelihood = np.exp(-((seen[:, None] - seen) ** 2) / (2 * variances[:, None]))
    weights = np.full(len(seen), 1 / len(seen))
    for _ in range(BIAS_STEPS):
        posterior = likelihood * weights
        posterior /= posterior.sum(axis=1, keepdims=True)
        weights = posterior.mean(axis=0)
    truth = np.stack([generator.choice(seen, size=draws, p=row) for row in posterior], axis=1)
    best = int(seen.argmax())
    wins = (truth + noise).argmax(axis=1) == best
    return max(0.0, float(noise[wins, best].mean())) if wins.any() else 0.0


def _seed_scatter(configurations: Sequence[Array]) -> float:
    """Standard deviation of accuracy from seed to seed, beyond what a run's images explain."""
    from scipy.special import gammaincinv

    nets = []
    for repeated in map(Repeats, configurations):
        if len(repeated.values) > 1 and repeated.is_complete:  # folds have other images each
            half = (len(repeated.values) - 1) / 2  # of the degrees of freedom of a variance
            variance = float(np.var(repeated.by_repeat, ddof=1)) * half / gammaincinv(half, 0.5)
            nets.append(variance - len(repeated.values) * repeated.shared_variance)
    # the median: configurations that collapse scatter most, and do not win
    return math.sqrt(max(0.0, float(np.median(nets)))) if nets else 0.0
