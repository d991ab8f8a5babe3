"""Figures: what they say, axes that fit, and class names that mean something to matplotlib."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymenoptera.reports.figures import (
    as_pixels,
    as_svg,
    confusion_figure,
    curves_figure,
    precision_recall_figure,
)
from hymenoptera.reports.learning_rates import valley, write_search
from hymenoptera.reports.metrics import Predictions

NAMES = ["$a_1$ & <b>", "_x", "蚂蚁"]
PREDICTIONS = Predictions(
    NAMES,
    np.array([0, 1, 2, 0]),
    np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]]),
    list("abcd"),
)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_class_names_are_shown_as_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion = texts(as_svg(confusion_figure(np.eye(3, dtype=int), NAMES), "x"))
        curves = texts(as_svg(precision_recall_figure(PREDICTIONS), "x"))
        as_pixels(precision_recall_figure(PREDICTIONS))
    shown = ["$a_1$ &amp; &lt;b&gt;", "_x", "蚂蚁"]
    assert [confusion.count(name) for name in shown] == [2, 2, 2]
    for average, name in zip(["0.833", "1.000", "1.000"], shown, strict=True):
        assert f"{average} {name}" in curves


def test_a_pages_colours_take_the_place_of_the_figures() -> None:
    rows = [{"epoch": e, "train/loss": 1 / e, "val/loss": 1.5 / e} for e in (1.0, 2.0, 3.0)]
    svg = as_svg(curves_figure(rows, "loss", "cross-entropy"), "loss by epoch")
    assert {"ink", "soft", "first", "second"} == set(re.findall(r"var\(--(\w+)\)", svg))
    assert svg.startswith('<svg role="img" aria-label="loss by epoch"')
    pixels = as_pixels(curves_figure(rows, "loss", "cross-entropy"))
    assert pixels.shape == (360, 480, 3)
    for colour in ((31, 111, 178), (209, 102, 10)):  # both curves are there
        assert (pixels == np.array(colour)).all(axis=2).sum() > 20


def test_epochs_without_validation_and_validations_in_mid_epoch_are_drawn() -> None:
    sparse = [{"epoch": 1, "step": 4, "train/loss": 1}, {"epoch": 2, "step": 8, "val/loss": 2}]
    lines = curves_figure(sparse, "loss", "x").axes[0].lines
    assert [line.get_xdata().tolist() for line in lines] == [[1], [2]]
    twice = [{"epoch": 1, "step": 2, "val/loss": 2}, {"epoch": 1, "step": 4, "val/loss": 1}]
    axes = curves_figure(twice, "loss", "x").axes[0]
    assert axes.get_xlabel() == "step"
    assert axes.lines[0].get_xdata().tolist() == [2, 4]
    assert not curves_figure([], "loss", "x").axes[0].lines


LEARNING_RATES = np.logspace(-6, 0, 61).tolist()


def losses(fall_at: float, rise_at: float) -> list[float]:
    """Flat, falling around one learning rate, exploding at another."""
    exponents = np.log10(LEARNING_RATES)
    fall = 1 / (1 + np.exp(4 * (exponents - np.log10(fall_at))))
    return (0.2 + fall + np.exp(6 * (exponents - np.log10(rise_at)))).tolist()


@pytest.mark.parametrize("fall_at", [1e-4, 1e-3])
def test_learning_rates_are_read_off_the_way_down(fall_at: float) -> None:
    curve = losses(fall_at, 1e-1)
    found = valley(LEARNING_RATES, curve)
    assert fall_at / 10 < found < LEARNING_RATES[int(np.argmin(curve))]
    noisy = [loss + 0.002 * (-1) ** number for number, loss in enumerate(curve)]
    assert valley(LEARNING_RATES, noisy) == pytest.approx(found, rel=2)


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["experiment=find_lr", "find_lr.steps=50"], []),
        (["experiment=[find_lr,head]", "data.root=/my images"], ["experiment=head"]),
        (
            ["+experiment=[a, find_lr, b]", "optimizer.lr=1", "+find_lr.max_lr=1"],
            ["+experiment=[a,b]"],
        ),
    ],
)
def test_a_search_leaves_its_curve_and_the_command_to_train_with(
    tmp_path: Path, overrides: list[str], kept: list[str]
) -> None:
    curve = losses(1e-3, 1e-1)
    lines = write_search(tmp_path, LEARNING_RATES, curve, overrides)
    assert [line.split()[0] for line in lines] == ["valley", "curve", "train"]
    lr = f"{valley(LEARNING_RATES, curve):.2g}"
    assert lines[0].split() == ["valley", lr]
    data = [one for one in overrides if one.startswith("data.")]
    expected = ["python", "train.py", *kept, *data, f"optimizer.lr={lr}"]
    assert shlex.split(lines[-1])[1:] == expected
    assert len(write_search(tmp_path, LEARNING_RATES, curve, None)) == 2
    rows = [line.split(",") for line in (tmp_path / "find_lr.csv").read_text().splitlines()]
    assert rows[0] == ["lr", "loss"] and float(rows[5][0]) == LEARNING_RATES[4]
    assert Image.open(tmp_path / "find_lr.png").size == (576, 432)
