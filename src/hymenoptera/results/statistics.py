"""What an accuracy on a few pictures is worth: its interval.

Runs are compared on the same pictures. A run's answers are an array of 0 and 1, one a picture; a
setting that was repeated with other seeds has a row of them for each repeat. Both the repeats and
the pictures are samples: what is said of a setting should hold with another seed, and on other
pictures of the kind.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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

    @cached_property
    def over_repeats(self) -> float:
        """Variance of the mean as the repeats show it; there are two at least."""
        return float(np.var(self.of_repeats, ddof=1)) / len(self.values)

    @cached_property
    def over_pictures(self) -> float:
        """Variance of the mean as the pictures show it."""
        count = self.values.shape[1]
        return float(np.var(self.of_pictures, ddof=1)) / count if count > 1 else 0.0

    @cached_property
    def shared(self) -> float:
        """What is in both: answers that differ from repeat to repeat, picture by picture.

        Folds have their own pictures each, so all that the pictures show is in their spread too.
        """
        if not self.is_whole:
            return self.over_pictures
        repeats, count = self.values.shape
        rest = self.values - self.of_repeats[:, None] - self.of_pictures[None, :] + self.mean
        freedom: int = max(1, (repeats - 1) * (count - 1))
        return float((rest**2).sum()) / freedom / rest.size


def own_answers(answers: Array) -> Array:
    """Without the repeats and pictures that a setting does not have.

    Args:
        answers: (K, N), NaN where it does not.
    """
    there = ~np.isnan(answers)
    return answers[np.ix_(there.any(axis=1), there.any(axis=0))]


def repeated_interval(answers: Array) -> tuple[float, float]:
    """95 % interval for a setting's accuracy, over its repeats and over pictures.

    Args:
        answers: (K, N) of 0 and 1, NaN where a fold does not have the picture.

    Returns:
        Lower and upper end on the scale 0 to 1: Wilson's interval, of as many independent
        pictures as would have the variance that was seen (crossed random effects), with the
        quantile of Student's t. Of a single repeat it is Wilson's own; of two, which say little
        of how a third would come out, it is wider rather than narrower than it should be.

    Source: Satterthwaite, "An approximate distribution of estimates of variance components",
    1946; Dean and Pagano, "Evaluating confidence interval methods for binomial proportions in
    clustered surveys", 2015.
    """
    repeats, count = answers.shape
    if repeats == 1:
        return wilson_interval(float(np.nansum(answers)), count)
    from scipy.special import stdtrit  # a part of a second, which most commands can do without

    found = Repeats(answers)
    variance = found.over_pictures + max(0.0, found.over_repeats - found.shared)
    varying = found.over_repeats if found.is_whole else max(0.0, found.over_repeats - found.shared)
    # the spread of two repeats is next to nothing by chance too often to count as being sure of it
    squares = (max(found.over_repeats, found.shared) if repeats == 2 else varying) ** 2
    squares /= repeats - 1
    squares += found.over_pictures**2 / max(1, count - 1)
    freedom = max(1.0, variance**2 / squares) if squares else 1.0
    all_answers = float(np.isfinite(answers).sum())
    share = found.mean
    effective = min(share * (1 - share) / variance, all_answers) if variance > 0 else count
    return wilson_interval(share * effective, effective, float(stdtrit(freedom, 0.975)))
