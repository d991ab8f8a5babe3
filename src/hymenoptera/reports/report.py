"""report.html: everything that a run left behind, on one page."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from hymenoptera.errors import ConfigError
from hymenoptera.reports import figures
from hymenoptera.reports.images import data_uri, grad_cam_file, thumbnail, thumbnails
from hymenoptera.reports.metrics import Predictions, measure, read_predictions
from hymenoptera.reports.pages import write_page
from hymenoptera.reports.record import Summary, read_epochs, read_summary
from hymenoptera.reports.runs import UNFINISHED, is_run
from hymenoptera.reports.tables import class_rows, metric_rows

MAX_THUMBNAILS = 1000  # validation images in the table with one; beyond, the page gets heavy
MAX_MISTAKES = 12
THUMBNAIL_PX, MISTAKE_PX = 56, 240  # the first as in the projector: decoded once for both


def write_report(folder: Path) -> Path:
    """Write a run's report.html from what is in its folder, and return its path.

    Raises:
        ConfigError: the folder is not a run's, or its files are damaged.
    """
    if not is_run(folder):
        raise ConfigError(f"{folder} is not a run folder: it has neither summary.json nor .hydra/.")
    summary = read_summary(folder) or Summary(UNFINISHED)
    validation = read_predictions(folder)
    splits = {
        "validation": validation,
        "held-out test": read_predictions(folder, "test_predictions.csv"),
    }
    config = folder / ".hydra" / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    write_page(
        path := folder / "report.html",
        "report.html",
        folder=folder.absolute(),
        run=shlex.quote(str(folder.absolute())),
        summary=summary,
        curves=_curves(folder),
        augmented=OmegaConf.select(OmegaConf.create(text), "transfer.views", default=0) != 0,
        splits={
            name: _split(name, one, summary) for name, one in splits.items() if one is not None
        },
        config=text,
        validation=validation,
        **({} if validation is None else _images(folder, summary, validation)),
    )
    return path


def _curves(folder: Path) -> dict[str, Markup]:
    rows, labels = read_epochs(folder), {"loss": "cross-entropy", "accuracy": "accuracy"}
    return {
        metric: _svg(figures.curves_figure(rows, metric, label), f"{metric} by epoch")
        for metric, label in labels.items()
        if any(f"{split}/{metric}" in row for row in rows for split in ("train", "val"))
    }


def _split(name: str, predictions: Predictions, summary: Summary) -> dict[str, Any]:
    measures = measure(predictions)
    calibrated = summary.calibration if name == "validation" else None
    after = calibrated["reliability_after"] if calibrated else None
    confusion = figures.confusion_figure(np.array(measures["confusion"]), predictions.classes)
    precision_recall = figures.precision_recall_figure(predictions)
    return {
        "confusion": _svg(confusion, f"confusion, {name}"),
        "reliability": _svg(figures.reliability_figure(predictions, after), f"reliability, {name}"),
        "calibrated": calibrated,
        "precision_recall": _svg(precision_recall, f"precision and recall, {name}"),
        "calibration": measures["metrics"]["expected_calibration_error"],
        "metrics": metric_rows(measures),
        "classes": class_rows(measures),
    }


def _svg(figure: Figure, description: str) -> Markup:
    return Markup(figures.as_svg(figure, description))


def _images(folder: Path, summary: Summary, predictions: Predictions) -> dict[str, Any]:
    """Every validation image, small, and the worst mistakes with their heat maps."""
    paths = [Path(summary.data.get("root") or "", name) for name in predictions.names]
    few = len(paths) <= MAX_THUMBNAILS
    small = thumbnails(paths, THUMBNAIL_PX) if few else [None] * len(paths)
    worst, mistakes = predictions.mistakes(MAX_MISTAKES), {}
    heat_maps = {i: grad_cam_file(folder, predictions.names[i]) for i in worst}
    for i, heat_map in heat_maps.items():
        large = heat_map.read_bytes() if heat_map.is_file() else thumbnail(paths[i], MISTAKE_PX)
        mistakes[i] = data_uri(large)
    explained = any(path.is_file() for path in heat_maps.values())
    return {"small": [data_uri(one) for one in small], "mistakes": mistakes, "explained": explained}
