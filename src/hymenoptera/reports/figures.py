"""Figures of a run, by pure functions: as pixels for TensorBoard, as SVG for a page."""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hymenoptera.reports import metrics
from hymenoptera.reports.metrics import Integers, Predictions

# by the name of the page's colour, so that a page can put its own in their place
COLOURS = {"ink": "#23211c", "soft": "#6d685d", "first": "#1f6fb2", "second": "#d1660a"}
MAX_CURVES = 8  # in a figure with one for each class
MAX_COUNTS = 20  # classes with which a confusion matrix still has counts in its cells


def curves_figure(rows: Sequence[Mapping[str, float]], metric: str, y_label: str) -> Figure:
    """Training against validation, by epoch, or by step if there are validations in mid-epoch.

    Rows are those of metrics.csv; the metric is "loss" or "accuracy".
    """
    epochs = [row.get("epoch") for row in rows]
    by = "epoch" if len(set(epochs)) == len(epochs) else "step"
    figure, axes = _axes(by, y_label)
    for split, name, colour in (("train", "training", "first"), ("val", "validation", "second")):
        key = f"{split}/{metric}"
        points = [(row[by], row[key]) for row in rows if key in row and by in row]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=COLOURS[colour], marker="o", markersize=3, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.lines:
        _legend(axes)
    return figure


def confusion_figure(matrix: Integers, classes: Sequence[str]) -> Figure:
    """(C, C) counts, a row a true class; the shade is the share of the true class."""
    figure, axes = _axes("predicted", "true", grid=False)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    middle: Any = {"ha": "center", "va": "center", "color": COLOURS["ink"]}
    for row, column in np.ndindex(matrix.shape):
        colour = COLOURS["first" if row == column else "second"]
        style: Any = {"color": colour, "alpha": 0.06 + 0.6 * shares[row, column], "linewidth": 0}
        axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, **style))
        if len(classes) <= MAX_COUNTS:
            size = max(6, 14 - len(classes))
            axes.text(column, row, str(matrix[row, column]), fontsize=size, **middle)
    ticks, names = range(len(classes)), [_plain(name) for name in classes]
    name_size = 10 if len(classes) <= 10 else max(4, 100 / len(classes))
    axes.set_xticks(ticks, names, rotation=0 if len(classes) <= 4 else 90, fontsize=name_size)
    axes.set_yticks(ticks, names, fontsize=name_size)
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5), aspect="equal")
    figure.set_layout_engine("constrained")  # makes room for the names; it takes its time
    axes.spines[:].set_visible(False)
    return figure


def reliability_figure(
    predictions: Predictions, after: Sequence[Sequence[float]] | None = None
) -> Figure:
    """The share that is correct against the predicted probability, by bins of images.

    `after` are such bins of the calibrated probabilities, (K, 3) as `metrics.reliability` has them.
    """
    figure, axes = _axes("probability of the predicted class", "share that is correct")
    rows = metrics.reliability(predictions)
    calibrated = np.reshape(after or [], (-1, 3))
    lowest = max(0.0, float(np.concatenate([rows, calibrated])[:, :2].min()) - 0.05)
    axes.plot([lowest, 1], [lowest, 1], color=COLOURS["soft"], linestyle=":", label="calibrated")
    for bins, colour, label in (
        (rows, COLOURS["first"], "images by bin"),
        (calibrated, COLOURS["second"], "with temperature"),
    ):
        if len(bins):
            x, y, counts = bins.T
            axes.plot(x, y, color=colour, linewidth=1)
            axes.scatter(x, y, s=20 + 180 * counts / counts.sum(), color=colour, label=label)
    text = f"expected calibration error {metrics.expected_calibration_error(predictions):.3f}"
    style: Any = {"transform": axes.transAxes, "ha": "right", "fontsize": 9}
    axes.text(0.98, 0.04, text, color=COLOURS["ink"], **style)
    _legend(axes)
    return figure


def precision_recall_figure(predictions: Predictions) -> Figure:
    """A curve for each class, of the rarest MAX_CURVES if there are more."""
    figure, axes = _axes("recall", "precision")
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes))
    present = [int(label) for label in np.argsort(counts, kind="stable") if counts[label]]
    for position, label in enumerate(sorted(present[:MAX_CURVES])):
        positive, scores = predictions.labels == label, predictions.probabilities[:, label]
        recall, precision, average = metrics.precision_recall(positive, scores)
        colour = COLOURS[("first", "second")[position]] if position < 2 else f"C{position}"
        name = f"{average:.3f} {_plain(predictions.classes[label])}"
        steps = np.r_[0, recall], np.r_[precision[:1], precision]
        axes.step(*steps, where="pre", color=colour, label=name)
    _legend(axes, title="average precision")
    return figure


def learning_rate_figure(
    learning_rates: Sequence[float], losses: Sequence[float], suggested: float
) -> Figure:
    """The smoothed losses of a range test, with the learning rate that they suggest."""
    figure, axes = _axes("learning rate", "training loss, smoothed")
    axes.plot(learning_rates, losses, color=COLOURS["first"])
    loss = losses[list(learning_rates).index(suggested)]
    name = f"suggested: {suggested:.2g}"
    axes.plot(suggested, loss, "o", color=COLOURS["second"], markersize=9, label=name)
    axes.set_xscale("log")
    _legend(axes)
    return figure


def as_pixels(figure: Figure) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, on white."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def as_svg(figure: Figure, description: str) -> str:
    """For a page, in its own font and colours; the description is put into it as it is."""
    content = io.StringIO()
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": description}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the page has its own font
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    _, start, svg = content.getvalue().partition("<svg ")
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return f'{start}role="img" aria-label="{description}" {svg}'.replace("'DejaVu Sans', ", "")


def _axes(x_label: str, y_label: str, grid: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6), dpi=100)
    figure.subplots_adjust(left=0.15, right=0.97, bottom=0.14, top=0.97)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=COLOURS["ink"])
    axes.set_ylabel(y_label, color=COLOURS["ink"])
    axes.tick_params(colors=COLOURS["soft"], labelcolor=COLOURS["ink"], length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(COLOURS["soft"])
    if grid:
        axes.grid(color=COLOURS["soft"], alpha=0.2, linewidth=0.6)
    return figure, axes


def _legend(axes: Axes, title: str | None = None) -> None:
    legend = axes.legend(frameon=False, labelcolor=COLOURS["ink"], fontsize=9, title=title)
    legend.get_title().set(color=COLOURS["ink"], fontsize=9)


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # which would begin a formula
