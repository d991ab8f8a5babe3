"""The rules, on curves of which the answer is known."""

import numpy as np
import pytest

from hymenoptera.results.learning_rates import draw_curve, steepest, valley

RATES = np.logspace(-6, 0, 61).tolist()


def curve(fall_at: float, rise_at: float) -> list[float]:
    """Flat, falling around one rate, exploding at another."""
    exponents = np.log10(RATES)
    fall = 1 / (1 + np.exp(4 * (exponents - np.log10(fall_at))))
    return (0.2 + fall + np.exp(6 * (exponents - np.log10(rise_at)))).tolist()


@pytest.mark.parametrize("fall_at", [1e-4, 1e-3])
def test_steepest_is_where_the_loss_falls_fastest(fall_at: float) -> None:
    assert steepest(RATES, curve(fall_at, 1e-1)) == pytest.approx(fall_at, rel=0.3)


@pytest.mark.parametrize("fall_at", [1e-4, 1e-3])
def test_valley_lies_on_the_way_down(fall_at: float) -> None:
    losses = curve(fall_at, 1e-1)
    rate = valley(RATES, losses)
    assert fall_at / 10 < rate < RATES[int(np.argmin(losses))]


def test_small_rises_do_not_end_the_valley() -> None:
    losses = curve(1e-3, 1e-1)
    noisy = [loss + 0.002 * (-1) ** number for number, loss in enumerate(losses)]
    assert valley(RATES, noisy) == pytest.approx(valley(RATES, losses), rel=2)


def test_the_curve_marks_every_suggestion() -> None:
    figure = draw_curve(RATES, curve(1e-3, 1e-1), {"valley": RATES[30], "steepest": RATES[28]})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["valley", "steepest"]
    assert figure.axes[0].get_xscale() == "log"
