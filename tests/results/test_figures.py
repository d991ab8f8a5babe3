"""Figures: what they say, and names of classes that mean something to matplotlib."""

import re
import warnings

import numpy as np

from hymenoptera.results.figures import (
    as_pixels,
    as_svg,
    confusion_figure,
    curves_figure,
    precision_recall_figure,
    reliability_figure,
)
from hymenoptera.results.metrics import Judgement, expected_calibration_error

NAMES = ["$a_1$ & <b>", "_x", "蚂蚁"]
FOUND = Judgement(
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
        curves = texts(as_svg(precision_recall_figure(FOUND), "x"))
        as_pixels(precision_recall_figure(FOUND))
    shown = ["$a_1$ &amp; &lt;b&gt;", "_x", "蚂蚁"]
    assert [confusion.count(name) for name in shown] == [2, 2, 2]
    for average, name in zip(["0.833", "1.000", "1.000"], shown, strict=True):
        assert f"{average} {name}" in curves


def test_the_reliability_figure_says_its_error() -> None:
    error = expected_calibration_error(FOUND)
    assert f"expected calibration error {error:.3f}" in texts(
        as_svg(reliability_figure(FOUND), "x")
    )


def test_a_page_s_colours_take_the_place_of_the_figure_s() -> None:
    rows = [{"epoch": e, "train/loss": 1 / e, "val/loss": 1.5 / e} for e in (1.0, 2.0, 3.0)]
    svg = as_svg(curves_figure(rows, "loss", "cross-entropy"), "loss by epoch")
    assert {"ink", "soft", "first", "second"} == set(re.findall(r"var\(--(\w+)\)", svg))
    assert svg.startswith('<svg role="img" aria-label="loss by epoch"')
    pixels = as_pixels(curves_figure(rows, "loss", "cross-entropy"))
    assert pixels.shape == (360, 480, 3)
    for colour in ((31, 111, 178), (209, 102, 10)):  # both curves are there
        assert (pixels == np.array(colour)).all(axis=2).sum() > 20
