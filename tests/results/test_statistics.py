"""Intervals cover what they say."""

import math

import numpy as np
import pytest

from hymenoptera.results.statistics import repeated_interval, wilson_interval
from simulated import COUNT, equal_settings


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(145, 0.90, 0.973), (0, 0, 0.0245), (153, 0.9755, 1.0)]
)
def test_wilson_at_known_values(successes: int, low: float, high: float) -> None:
    """145 of 153 is 94.8 %; 0 and all have an end at 0 or 1."""
    ends = wilson_interval(successes, COUNT)
    assert ends == pytest.approx((low, high), abs=5e-4)
    # the defining equation: each end is z standard errors of its own from what was seen
    for end in ends:
        if 0 < end < 1 and 0 < successes < COUNT:
            assert abs(successes / COUNT - end) == pytest.approx(
                1.959964 * math.sqrt(end * (1 - end) / COUNT)
            )


def test_wilson_covers_within_a_point_of_nominal() -> None:
    """Exactly, by summing over all outcomes, on average over what accuracies are like."""
    covered = []
    for share in np.linspace(0.6, 0.97, 75):
        right = np.arange(COUNT + 1)
        ends = np.array([wilson_interval(int(r), COUNT) for r in right])
        inside = (ends[:, 0] <= share) & (share <= ends[:, 1])
        chance = np.array(
            [math.comb(COUNT, r) * share**r * (1 - share) ** (COUNT - r) for r in right]
        )
        covered.append(float(chance[inside].sum()))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("scatter", [0, 0.3])
@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_the_interval_over_repeats_covers_within_a_point_of_nominal(
    repeats: int, scatter: float
) -> None:
    """And the half point by which 2000 draws are unsure; of two repeats it may cover more often.

    benchmarks/sweep_statistics.py has more cases.
    """
    generator = np.random.default_rng(repeats)
    truth = equal_settings(generator, 300, 1, scatter, count=20_000).mean()
    ends = [
        repeated_interval(equal_settings(generator, 1, repeats, scatter)[0]) for _ in range(2000)
    ]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert 0.935 <= covered <= (0.99 if repeats == 2 else 0.965)


def test_an_interval_of_one_repeat_is_wilsons_and_more_repeats_are_worth_more() -> None:
    generator = np.random.default_rng(0)
    answers = equal_settings(generator, 1, 6, 0.1)[0]
    one = repeated_interval(answers[:1])
    assert one == wilson_interval(int(answers[0].sum()), COUNT)
    six = repeated_interval(answers)
    assert six[1] - six[0] < one[1] - one[0]
    assert six[0] < answers.mean() < six[1]


def test_of_two_repeats_that_agree_the_interval_is_no_narrower_than_of_their_pictures() -> None:
    answers = np.ones((2, COUNT))
    answers[:, :8] = 0
    low, high = repeated_interval(answers)
    assert (low, high) == pytest.approx(wilson_interval(COUNT - 8, COUNT), abs=1e-3)
    answers[0, 8:48] = 0  # they do not agree any more
    wider = repeated_interval(answers)
    assert wider[1] - wider[0] > 4 * (high - low)


def test_folds_have_an_interval_over_all_their_pictures() -> None:
    generator = np.random.default_rng(0)
    folds = np.full((5, 200), np.nan)
    for fold in range(5):
        folds[fold, 40 * fold : 40 * fold + 40] = generator.random(40) < 0.95
    low, high = repeated_interval(folds)
    assert low < np.nanmean(folds) < high
    assert 0.04 < high - low < 0.12
