"""What predictions are worth: metrics, each with its interval."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import accuracy_summary
from hymenoptera.reports.statistics import wilson

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 10  # of the calibration error
RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class Predictions:
    """Predictions for N labelled images, of C classes: labels (N,), probabilities (N, C)."""

    classes: list[str]
    labels: Integers
    probabilities: Floats
    names: list[str]

    @cached_property
    def predicted(self) -> Integers:
        """(N,) int64, the first of equally probable classes."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> Floats:
        """(N,) probability of the predicted class."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def bins(self) -> Integers:
        """(N,) int64: which of BINS equally wide ones the confidence is in."""
        return np.minimum((self.confidence * BINS).astype(np.int64), BINS - 1)

    @cached_property
    def losses(self) -> Floats:
        """(N,) cross-entropy of each image, in nats; 1e-8 is the least that the CSV file holds."""
        own = self.probabilities[np.arange(len(self.labels)), self.labels]
        return np.asarray(-np.log(np.maximum(own, 1e-8)))

    @cached_property
    def squared_errors(self) -> Floats:
        """(N,) squared distance of the probabilities to the truth, 0 to 2 (Brier, 1950)."""
        truth = np.eye(len(self.classes))[self.labels]
        return np.asarray(((self.probabilities - truth) ** 2).sum(axis=1))

    @cached_property
    def outcomes(self) -> dict[tuple[str, str], float]:
        """1 or 0 for each image, by name and label: another label, another image."""
        images = zip(self.names, np.array(self.classes)[self.labels].tolist(), strict=True)
        return dict(zip(images, (self.labels == self.predicted) * 1.0, strict=True))

    def mistakes(self, count: int) -> list[int]:
        """Positions of the wrong predictions with the highest loss, at most so many."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return [int(i) for i in wrong[np.argsort(-self.losses[wrong], kind="stable")][:count]]


def read_predictions(folder: Path, file: str = "predictions.csv") -> Predictions | None:
    """Read what `record.write_predictions` wrote in a run folder; None where there is none."""
    path = folder / file
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            header, *rows = csv.reader(stream)
        classes = header[3:]
        return Predictions(
            classes,
            np.array([classes.index(row[1]) for row in rows], dtype=np.int64),
            np.array([[float(p) for p in row[3:]] for row in rows]).reshape(-1, len(classes)),
            [row[0] for row in rows],
        )
    except (ValueError, IndexError, csv.Error) as error:
        raise ConfigError(f"{path} is damaged: it is not what a run writes there.") from error


def measure(predictions: Predictions) -> dict[str, Any]:
    """All metrics that are reported of a classifier on labelled images.

    Beside `record.accuracy_summary`: `metrics`, by name a `value` and the 95 % `interval` of a
    percentile bootstrap over the images; `per_class`, with 95 % Wilson intervals; `confusion`.

    Source: Efron, "Bootstrap methods", 1979, for the percentile interval.
    """
    classes, count = predictions.classes, len(predictions.labels)
    matrix = confusion(predictions.labels, predictions.predicted, len(classes))
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, count, count) for _ in range(RESAMPLES))
    resampled = [_metrics(predictions, np.bincount(d, minlength=count)) for d in draws]
    metrics = {}
    for name, value in _metrics(predictions, np.ones(count)).items():
        ends = np.percentile([one[name] for one in resampled], [2.5, 97.5])
        metrics[name] = {"value": value, "interval": ends.tolist()}
    return {
        **accuracy_summary(predictions.labels, predictions.probabilities),
        "metrics": metrics,
        "per_class": {name: _class_metrics(matrix, k) for k, name in enumerate(classes)},
        "confusion": matrix.tolist(),
    }


def confusion(labels: Integers, predicted: Integers, class_count: int) -> Integers:
    """(C, C) int64 counts: a row a true class, a column a predicted one."""
    flat = np.bincount(labels * class_count + predicted, minlength=class_count**2)
    return flat.reshape(class_count, class_count).astype(np.int64)


def reliability(predictions: Predictions) -> Floats:
    """(K, 3): mean probability, share that is correct, and count, of each bin with an image."""
    correct, confidence = predictions.predicted == predictions.labels, predictions.confidence
    bins = [predictions.bins == k for k in np.unique(predictions.bins)]
    return np.array([(confidence[b].mean(), correct[b].mean(), b.sum()) for b in bins])


def expected_calibration_error(predictions: Predictions) -> float:
    """Mean distance between probability and share correct, over BINS bins weighted by their images.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, eq. 3.
    """
    probability, correct, count = reliability(predictions).T
    return float(np.abs(probability - correct) @ count / count.sum())


def precision_recall(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, float]:
    """Recall and precision (K,) of one class, from the highest score down; average precision.

    Whether an image is of the class is (N,) `positive`, the class's probability (N,) `scores`.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]  # of equal scores
    precision = hits[last] / (last + 1)
    recall = hits[last] / max(1, positive.sum())
    return recall, precision, float((np.diff(np.r_[0.0, recall]) * precision).sum())


def _metrics(predictions: Predictions, weights: NDArray[Any]) -> dict[str, float]:
    """The metrics of a resample: weights (N,) say how often each image was drawn."""
    labels, predicted, total = predictions.labels, predictions.predicted, weights.sum()
    count, correct = len(predictions.classes), labels == predicted
    true, found = (np.bincount(of, weights, count) for of in (labels, predicted))
    hits = np.bincount(labels, weights * correct, count)
    gaps = np.bincount(predictions.bins, weights * (predictions.confidence - correct))
    with np.errstate(invalid="ignore"):  # a class that was not drawn has no part in the mean
        recalls, f1 = hits / true, 2 * hits / (true + found)
    return {
        "balanced_accuracy": float(np.nanmean(recalls)),
        "macro_f1": float(np.nanmean(f1)),
        "log_loss": float(weights @ predictions.losses / total),
        "brier_score": float(weights @ predictions.squared_errors / total),
        "expected_calibration_error": float(np.abs(gaps).sum() / total),
    }


def _class_metrics(matrix: Integers, label: int) -> dict[str, Any]:
    hits, count = int(matrix[label, label]), int(matrix[label].sum())
    predicted = int(matrix[:, label].sum())
    recall, precision = (
        {"value": hits / whole, "interval": list(wilson(hits, whole))} if whole else None
        for whole in (count, predicted)
    )
    return {"count": count, "recall": recall, "precision": precision}
