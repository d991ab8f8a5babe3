"""The curve of accuracy against the number of training images, on data whose truth is known."""

import numpy as np
import pytest

from hymenoptera.reports.learning_curve import fit_learning_curve


def measured(sizes, error, seed: int, images: int = 150, repeats: int = 3) -> dict:
    """Outcomes of images that are hard to different degrees, with the given error at each size."""
    rng = np.random.default_rng(seed)
    hardness = rng.uniform(size=images)
    found = {}
    for size in sizes:
        noise = rng.normal(0, 0.03, (repeats, images))
        found[size] = (hardness + noise < 1 - error(size)).astype(float)
    return found


def test_a_curve_without_noise_is_found() -> None:
    sizes = [20, 40, 80, 160, 320]
    exact = {
        n: np.tile(np.arange(10_000) >= 10_000 * (0.9 * n**-0.5 + 0.02), (2, 1)) for n in sizes
    }
    curve = fit_learning_curve(exact)
    assert curve.sizes == sizes and curve.grid[-1] == 640
    assert curve.curve[-1] == pytest.approx(1 - (0.9 * 640**-0.5 + 0.02), abs=0.002)
    assert curve.gain == pytest.approx(0.9 * (320**-0.5 - 640**-0.5), abs=0.002)
    assert "Twice as many images, 640, would bring +1.5 points" in curve.sentence


def test_the_interval_holds_what_is_measured_at_twice_the_size() -> None:
    def error(size: int) -> float:
        return 0.8 * size**-0.6 + 0.03

    held = 0
    for seed in range(40):
        outcomes = measured([10, 20, 40, 80, 120, 240], error, seed)
        truth = outcomes.pop(240).mean()
        curve = fit_learning_curve(outcomes)
        held += curve.low[-1] <= truth <= curve.high[-1]
    assert held >= 34


def test_more_images_never_cost_accuracy() -> None:
    worse = {size: np.tile(np.arange(100) >= size, (1, 1)) for size in (10, 20, 30)}
    curve = fit_learning_curve(worse)
    assert curve.gain == 0 and np.ptp(curve.curve) < 1e-9


def test_two_sizes_are_too_few() -> None:
    assert fit_learning_curve({10: np.ones((1, 5)), 20: np.ones((1, 5))}) is None
