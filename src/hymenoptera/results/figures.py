"""Figures of a run, by pure functions: as pixels for TensorBoard, as SVG for a page.

Every function takes figures and gives a matplotlib Figure; no state is kept between them.
"""

import io
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hymenoptera.results.metrics import (
    Judgement,
    expected_calibration_error,
    precision_recall,
    reliability,
)
from hymenoptera.results.resampling import Integers

# by the name of the page's colour, so that a page can put its own in their place
COLOURS = {"ink": "#23211c", "soft": "#6d685d", "first": "#1f6fb2", "second": "#d1660a"}
MOST_CURVES = 8  # in a figure with one for each class
MOST_NUMBERS = 20  # classes with which a confusion matrix still has numbers in its cells


def curves_figure(rows: Sequence[dict[str, float]], metric: str, label: str) -> Figure:
    """Training against validation, by epoch.

    Args:
        rows: of metrics.csv.
        metric: "loss" or "accuracy".
        label: of the vertical axis.
    """
    figure, axes = _axes("epoch", label)
    epochs = [row["epoch"] for row in rows]
    for part, name, colour in (("train", "training", "first"), ("val", "validation", "second")):
        values = [row[f"{part}/{metric}"] for row in rows]
        axes.plot(epochs, values, color=COLOURS[colour], marker="o", markersize=3, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return figure


def confusion_figure(matrix: Integers, classes: Sequence[str]) -> Figure:
    """Counts by true class and predicted class; the shade is the share of the true class.

    Args:
        matrix: (C, C), a row a true class.
        classes: the C names.
    """
    figure, axes = _axes("predicted", "true", grid=False)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    cells = [(row, column) for row in range(len(classes)) for column in range(len(classes))]
    for row, column in cells:
        share = float(shares[row, column])
        axes.add_patch(
            Rectangle(
                (column - 0.48, row - 0.48),
                *(0.96, 0.96),
                color=COLOURS["first" if row == column else "second"],
                alpha=0.06 + 0.6 * share,
                linewidth=0,
            )
        )
        if len(classes) <= MOST_NUMBERS:
            axes.text(
                *(column, row, str(matrix[row, column])),
                ha="center",
                va="center",
                color=COLOURS["ink"],
                fontsize=max(6, 14 - len(classes)),
            )
    ticks, names = range(len(classes)), [_plain(name) for name in classes]
    size = 10 if len(classes) <= 10 else max(4, 100 / len(classes))
    axes.set_xticks(ticks, names, rotation=0 if len(classes) <= 4 else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_aspect("equal")
    figure.set_layout_engine("constrained")  # makes room for the names; it takes its time
    axes.spines[:].set_visible(False)
    return figure


def reliability_figure(judgement: Judgement) -> Figure:
    """How often a prediction is right against how sure it is, with the pictures of each bin."""
    figure, axes = _axes("probability of the predicted class", "share that is right")
    rows = reliability(judgement.labels, judgement.probabilities)
    axes.plot([0, 1], [0, 1], color=COLOURS["soft"], linestyle=":", label="as sure as right")
    sizes = 20 + 180 * rows[:, 2] / rows[:, 2].sum()
    axes.plot(rows[:, 0], rows[:, 1], color=COLOURS["first"], linewidth=1)
    axes.scatter(rows[:, 0], rows[:, 1], s=sizes, color=COLOURS["first"], label="pictures by bin")
    lowest = min(0.5, float(rows[:, 0].min()), 1 / len(judgement.classes))
    axes.set_xlim(lowest - 0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    error = expected_calibration_error(judgement)
    axes.text(
        *(0.98, 0.04, f"expected calibration error {error:.3f}"),
        transform=axes.transAxes,
        ha="right",
        color=COLOURS["ink"],
        fontsize=9,
    )
    _legend(axes)
    return figure


def precision_recall_figure(judgement: Judgement) -> Figure:
    """A curve for each class, of the rarest MOST_CURVES where there are more."""
    figure, axes = _axes("recall", "precision")
    counts = np.bincount(judgement.labels, minlength=len(judgement.classes))
    present = [int(label) for label in np.argsort(counts, kind="stable") if counts[label]]
    for place, label in enumerate(sorted(present[:MOST_CURVES])):
        recall, precision, average = precision_recall(
            judgement.labels == label, judgement.probabilities[:, label]
        )
        colour = COLOURS[("first", "second")[place]] if place < 2 else f"C{place}"
        axes.step(
            np.r_[0, recall],
            np.r_[precision[:1], precision],
            where="pre",
            color=colour,
            label=f"{average:.3f} {_plain(judgement.classes[label])}",
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.05)
    _legend(axes, title="average precision")
    return figure


def as_pixels(figure: Figure) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, on white."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def as_svg(figure: Figure, description: str) -> str:
    """For a page: the page's own font and colours, whatever its theme.

    Args:
        figure: from one of the functions above.
        description: for those who cannot see it.
    """
    content = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the page has its own font
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("'DejaVu Sans', ", "").replace(
        "<svg ", f'<svg role="img" aria-label="{description}" ', 1
    )


def _axes(x_label: str, y_label: str, grid: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6), dpi=100)
    figure.subplots_adjust(left=0.15, right=0.97, bottom=0.14, top=0.97)
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=COLOURS["ink"])
    axes.set_ylabel(y_label, color=COLOURS["ink"])
    axes.tick_params(colors=COLOURS["soft"], labelcolor=COLOURS["ink"], length=3)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(COLOURS["soft"])
    if grid:
        axes.grid(color=COLOURS["soft"], alpha=0.2, linewidth=0.6)
    return figure, axes


def _legend(axes: Axes, title: str | None = None) -> None:
    legend = axes.legend(frameon=False, labelcolor=COLOURS["ink"], fontsize=9, title=title)
    legend.get_title().set(color=COLOURS["ink"], fontsize=9)


def _plain(name: str) -> str:
    """A class's name, of which matplotlib takes nothing for a formula."""
    return name.replace("$", r"\$")
