"""Configurations that are equal are seldom called worse, and those that are worse are found."""

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from hymenoptera.reports.paired import compare_with_best, range_p, sign_flip_test
from reports.simulated import COUNT, equal_configurations, runs


def ps(configurations: list[np.ndarray], best: int) -> list[float | None]:
    return [c and c.p for c in compare_with_best(configurations, best)]


def test_sign_flips_are_mcnemars_exact_test_where_there_is_one_repeat() -> None:
    differences = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 142)
    expected = 2 * sum(math.comb(11, k) for k in range(3)) / 2**11
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test(-differences) == pytest.approx(expected)
    assert sign_flip_test(np.zeros(COUNT)) == sign_flip_test(np.array([1.0, -1.0])) == 1
    assert sign_flip_test(np.array([3.0, 2.0, -1.0])) == pytest.approx(4 / 8)  # 4 sums reach 4
    differences = np.repeat([3.0, 1, -1, -2], [6_000, 40_000, 39_700, 9_000])
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert sign_flip_test(differences) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-2)


def test_the_range_of_two_is_students_t() -> None:
    assert range_p(3.1, 14, 2) == pytest.approx(2 * t.sf(3.1, 14), rel=1e-6)
    assert range_p(-1, 5, 3) == range_p(0, 5, 3) == 1
    assert range_p(math.inf, 5, 3) == 0


@pytest.mark.parametrize(
    ("count", "repeats", "scatter", "trials"),  # 0.35 in logits is 1.7 points
    [(2, 1, 0, 40), (8, 1, 0.35, 20), (2, 2, 0.35, 40)],
)
def test_equal_configurations_are_called_worse_in_one_sweep_of_twenty_at_the_most(
    count: int, repeats: int, scatter: float, trials: int
) -> None:
    """That any of a sweep's rows is, whichever of the equals was the best."""
    generator = np.random.default_rng(count + repeats)
    alarms = 0
    for _ in range(trials):
        values = equal_configurations(generator, count, repeats, scatter)
        found = ps(list(values), int(values.mean(axis=(1, 2)).argmax()))
        alarms += any(p is not None and p <= 0.05 for p in found)
    assert alarms / trials <= 0.05


def test_ten_points_are_found_with_two_seeds_among_eight_rows() -> None:
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(5):
        values = equal_configurations(generator, 8, 2, 0.2)
        values[7] *= generator.random(COUNT) < 0.89
        found += ps(list(values), int(values.mean(axis=(1, 2)).argmax()))[7] <= 0.05
    assert found >= 4


def test_two_seeds_seven_points_below_two_seeds_are_worse() -> None:
    """85.0 and 92.8 % were said to be the same as 96.1 %."""
    [_, comparison] = compare_with_best([runs(0.961, 0.961), runs(0.85, 0.928)], 0)
    assert comparison is not None
    assert comparison.p < 0.05
    assert comparison.difference == pytest.approx(-11 / COUNT)
    low, high = comparison.interval
    assert -0.15 < low < comparison.difference < high < 0


def test_rows_that_collapse_and_scatter_are_told_apart_one_after_the_other() -> None:
    """51.6 ± 12.8 and 84.1 ± 9.2 % beside rows of 96 ± 0.4 %, three seeds each."""
    sweep = [
        *[runs(0.961, 0.961, 0.961), runs(0.961, 0.954, 0.961), runs(0.954, 0.961, 0.961)],
        *[runs(0.735, 0.889, 0.90), runs(0.369, 0.56, 0.62)],
    ]
    found = ps(sweep, 0)
    assert found[0] is None
    assert found[4] < found[3] < 0.05
    assert all(p is not None and p > 0.5 for p in found[1:3])


def test_differences_must_be_larger_than_seeds_scatter() -> None:
    """McNemar's test tells two runs apart; of their configurations it knows nothing."""
    first, second = runs(1), runs(1 - 6 / COUNT)  # 3.9 points
    assert sign_flip_test((first - second)[0]) == pytest.approx(2 / 2**6)
    assert ps([first, second], 0)[1] > 0.05
    assert ps([first, runs(1 - 18 / COUNT)], 0)[1] < 0.02  # 11.8 points
    first, second = runs(1, 1, 1), runs(0.6, 1, 1)  # one repeat collapsed, or two were lucky
    assert sign_flip_test((first - second).sum(axis=0)) < 1e-9
    assert ps([first, second], 0)[1] > 0.05
    assert ps([first, runs(0.6, 0.65, 0.66)], 0)[1] < 1e-3


def test_configurations_are_compared_on_what_they_have_in_common() -> None:
    best, ahead, other = runs(0.9, 0.98, 0.98), runs(1, 1, 1), runs(0.9, 0.9, 0.9)
    best[2] = np.nan  # a repeat that failed
    ahead[1:] = np.nan
    other[:2] = np.nan
    found = ps([best, ahead, other], 0)
    assert found[1] == 1  # it is ahead on what both have, so it is not worse
    assert found[2] is None  # nothing in common with the best


def test_folds_are_compared_over_all_their_images() -> None:
    generator = np.random.default_rng(0)
    first, second = np.full((2, 5, 200), np.nan)
    for fold in range(5):
        part = slice(40 * fold, 40 * fold + 40)
        first[fold, part] = generator.random(40) < 0.95
        second[fold, part] = generator.random(40) < 0.7
    assert ps([first, second], 0)[1] < 0.01
    assert ps([first, first], 0)[1] == 1
