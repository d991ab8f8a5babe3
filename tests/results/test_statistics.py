"""Figures against published ones and against what they must satisfy."""

import pytest

from hymenoptera.results.statistics import wilson_interval


@pytest.mark.parametrize(
    ("successes", "count", "expected"),
    [
        (0, 10, (0.0, 0.2775)),  # Newcombe, "Two-sided confidence intervals", 1998: rule of form
        (81, 263, (0.2553, 0.3662)),  # the same, table I, method 3
        (15, 148, (0.0624, 0.1605)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_interval(successes: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(successes, count) == pytest.approx(expected, abs=1e-4)


def test_wilson_interval_is_symmetric() -> None:
    low, high = wilson_interval(3, 20)
    assert wilson_interval(17, 20) == pytest.approx((1 - high, 1 - low))
