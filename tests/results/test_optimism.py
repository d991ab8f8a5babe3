"""The luck in the best of several is told within a third of a point."""

import numpy as np
import pytest

from hymenoptera.results.optimism import optimism_of_best
from simulated import COUNT, equal_settings


@pytest.mark.parametrize(("repeats", "scatter"), [(1, 0), (3, 0.3)])
def test_the_optimism_of_the_best_of_equals_is_about_what_it_is(
    repeats: int, scatter: float
) -> None:
    generator = np.random.default_rng(0)
    told, true = [], []
    for _ in range(80):
        answers = equal_settings(generator, 8, repeats, scatter)
        means = answers.mean(axis=(1, 2))
        told.append(optimism_of_best(list(answers), draws=300))
        true.append(means.max() - means.mean())  # all are worth the same
    assert np.mean(true) > 0.012
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.0033)


def test_a_best_that_is_far_ahead_has_next_to_no_luck_in_it() -> None:
    answers = equal_settings(np.random.default_rng(0), 8, 1, 0)
    answers[1:, :, :40] = 0
    assert optimism_of_best(list(answers)) < 0.5 * optimism_of_best(list(answers[1:]))
    assert optimism_of_best(list(answers[:1])) == 0  # nothing to choose from
    assert optimism_of_best([np.ones((1, COUNT))] * 3) == 0


def test_the_same_seed_gives_the_same_optimism() -> None:
    answers = list(equal_settings(np.random.default_rng(3), 5, 1, 0))
    assert optimism_of_best(answers) == optimism_of_best([one.copy() for one in answers])
