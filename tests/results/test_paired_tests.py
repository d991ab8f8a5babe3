"""Settings that are the same are seldom called worse, and those that are worse are found."""

import math

import numpy as np
import pytest
from scipy.stats import norm, studentized_range, t

from hymenoptera.results.paired_tests import (
    SEED_SCATTER,
    against_best,
    range_p,
    seed_scatter,
    sign_flip_test,
)
from simulated import COUNT, equal_settings


def runs(*accuracies: float, count: int = COUNT) -> np.ndarray:
    """(K, count): repeats that get the same pictures wrong, some of them more of these."""
    right = [round(accuracy * count) for accuracy in accuracies]
    return np.array([np.arange(count) < number for number in right]) * 1.0


def test_sign_flips_are_mcnemars_exact_test_where_there_is_one_repeat() -> None:
    differences = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 142)
    expected = 2 * sum(math.comb(11, k) for k in range(3)) / 2**11
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test(-differences) == pytest.approx(expected)
    assert sign_flip_test(np.zeros(COUNT)) == 1
    assert sign_flip_test(np.array([1.0, -1.0])) == 1
    assert sign_flip_test(np.array([3.0, 2.0, -1.0])) == pytest.approx(4 / 8)  # 4 sums reach 4


@pytest.mark.parametrize(
    ("distance", "freedom", "settings"), [(2.5, 15.3, 8), (4, 3, 8), (3.5, 1e6, 20), (6, 1.5, 5)]
)
def test_the_range_is_that_of_scipy(distance: float, freedom: float, settings: int) -> None:
    expected = studentized_range.sf(distance * math.sqrt(2), settings, freedom)
    assert range_p(distance, freedom, settings) == pytest.approx(expected, rel=1e-5)


def test_the_range_of_two_is_students_t() -> None:
    for freedom in (2, 14):
        assert range_p(3.1, freedom, 2) == pytest.approx(2 * t.sf(3.1, freedom), rel=1e-6)
    assert range_p(-1, 5, 3) == range_p(0, 5, 3) == 1
    assert range_p(math.inf, 5, 3) == 0


@pytest.mark.parametrize(
    ("settings", "repeats", "scatter", "trials"),
    # 0.35 in logits is 1.7 points here, 0.6 is 3; benchmarks/sweep_statistics.py has more sweeps of
    # more kinds
    [(2, 1, 0, 1000), (8, 1, 0.35, 200), (8, 2, 0.6, 200), (8, 3, 0, 100), (8, 3, 0.6, 200)],
)
def test_equal_settings_are_called_worse_in_one_sweep_of_twenty_at_the_most(
    settings: int, repeats: int, scatter: float, trials: int
) -> None:
    """That any of a sweep's rows is, which of the equals ever was the best."""
    generator = np.random.default_rng(settings + repeats)
    alarms = 0
    for _ in range(trials):
        answers = equal_settings(generator, settings, repeats, scatter)
        found = against_best(list(answers), int(answers.mean(axis=(1, 2)).argmax()))
        alarms += any(p is not None and p <= 0.05 for p in found)
    assert alarms / trials <= 0.05


def test_a_setting_that_is_worse_is_called_so() -> None:
    generator = np.random.default_rng(0)
    answers = equal_settings(generator, 8, 3, 0.1)
    answers[5] *= generator.random(COUNT) < 0.8
    found = against_best(list(answers), 2)
    assert found[2] is None
    assert found[5] is not None
    assert found[5] < 0.01
    assert all(p is None or p > 0.05 for i, p in enumerate(found) if i != 5)


def test_rows_that_collapse_and_scatter_are_told_apart_one_after_the_other() -> None:
    """51.6 ± 12.8 and 84.1 ± 9.2 % beside rows of 96 ± 0.4 %, three seeds each.

    Alone, the second would not be: three runs that scatter by 9 points say little. But were it the
    same as the best it would scatter as the best do.
    """
    sweep = [
        *[runs(0.961, 0.961, 0.961), runs(0.961, 0.954, 0.961), runs(0.954, 0.961, 0.961)],
        *[runs(0.961, 0.961, 0.954), runs(0.954, 0.961, 0.954)],
        *[runs(0.735, 0.889, 0.90), runs(0.369, 0.56, 0.62)],
    ]
    found = against_best(sweep, 0)
    assert found[0] is None
    assert found[6] < found[5] < 0.05
    assert all(p is not None and p > 0.5 for p in found[1:5])
    assert against_best([sweep[0], sweep[5]], 0)[1] > 0.05


def test_single_runs_must_differ_by_more_than_seeds_scatter() -> None:
    """McNemar's test tells these two runs apart; of their settings it knows nothing."""
    first, second = runs(1), runs(1 - 6 / COUNT)  # 3.9 points
    assert sign_flip_test((first - second)[0]) == pytest.approx(2 / 2**6)
    assert seed_scatter([first, second]) == (SEED_SCATTER**2, 0, math.inf)
    [_, p] = against_best([first, second], 0)
    share = 6 / COUNT
    error = math.sqrt(2 * SEED_SCATTER**2 + share * (1 - share) / (COUNT - 1))
    assert p == pytest.approx(math.erfc(share / error / math.sqrt(2)), rel=0.01)
    assert p > 0.05
    assert against_best([first, runs(1 - 18 / COUNT)], 0)[1] < 0.01  # 11.8 points


def test_a_single_run_is_held_against_the_scatter_that_repeated_rows_show() -> None:
    best, same = runs(0.96, 0.96, 0.95), runs(0.95, 0.96, 0.96)
    single = np.full_like(best, np.nan)
    single[0] = runs(0.91)
    allowed = against_best([best[:1], same[:1], single[:1]], 0)[2]
    assert against_best([best, same, single], 0)[2] < allowed


def test_one_lucky_repeat_is_no_better_setting() -> None:
    """Over the pictures alone the difference is plain; over the repeats it is not."""
    first, second = runs(1, 1, 1), runs(0.6, 1, 1)
    assert sign_flip_test((first - second).sum(axis=0)) < 1e-9
    assert against_best([first, second], 0)[1] > 0.1
    assert against_best([first, runs(0.6, 0.65, 0.66)], 0)[1] < 1e-3  # the others are as bad


def test_a_row_that_is_ahead_on_what_both_have_is_not_worse() -> None:
    """It is not the best where a repeat of it failed."""
    best, ahead = runs(0.9, 0.98, 0.98), runs(1, 1, 1)
    ahead[1:] = np.nan
    assert against_best([best, ahead], 0)[1] == 1


def test_settings_are_compared_on_what_they_have_in_common() -> None:
    generator = np.random.default_rng(0)
    answers = equal_settings(generator, 3, 3, 0.0)
    answers[0, 2] = np.nan  # a repeat that failed
    answers[2, :2] = np.nan
    found = against_best(list(answers), 0)
    assert found[1] is not None
    assert found[2] is None  # nothing in common with the best


def test_folds_are_compared_over_all_their_pictures() -> None:
    generator = np.random.default_rng(0)
    first, second = np.full((2, 5, 200), np.nan)
    for fold in range(5):
        part = slice(40 * fold, 40 * fold + 40)
        first[fold, part] = generator.random(40) < 0.95
        second[fold, part] = generator.random(40) < 0.7
    assert against_best([first, second], 0)[1] < 0.01
    assert against_best([first, first], 0)[1] == 1


def test_folds_that_are_hard_for_all_are_no_scatter() -> None:
    """A point or 20 below the best in each fold, beside 16 points from fold to fold."""
    best = np.full((5, 500), np.nan)
    for fold in range(5):
        best[fold, 100 * fold : 100 * fold + 100] = np.arange(100) < 78 + 4 * fold
    others = [best * (np.arange(500) % 100 >= less) for less in (0, 1, 20)]
    scatter, _, freedom = seed_scatter([best, *others])
    assert (scatter, freedom) == (pytest.approx(0, abs=1e-12), 12)
    found = against_best([best, *others], 0)
    assert found[3] < 1e-6
    assert found[1] == 1  # nothing differs
    assert found[2] < found[1]


def test_a_fold_that_one_setting_lost_does_not_shift_the_others() -> None:
    """Folds differ by up to 16 points, the two settings by nothing in any of them."""
    first = np.full((5, 500), np.nan)
    for fold in range(5):
        first[fold, 100 * fold : 100 * fold + 100] = np.arange(100) < 78 + 4 * fold
    second = first.copy()
    second[0] = np.nan
    scatter, _, freedom = seed_scatter([first, second])
    assert (scatter, freedom) == (pytest.approx(0, abs=1e-12), 3)


def test_of_very_many_pictures_the_exact_test_is_the_normal_one() -> None:
    differences = np.repeat([3.0, 1, -1, -2], [6_000, 40_000, 39_700, 9_000])
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert sign_flip_test(differences) == pytest.approx(2 * norm.sf(abs(z)), rel=1e-2)
