"""What predictions are worth: one mapping of figures, each with its interval. Needs no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymenoptera.results.records import judged
from hymenoptera.results.statistics import wilson_interval

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 1000
BINS = 10


@dataclass(frozen=True)
class Judgement:
    """Predictions for labelled pictures.

    Attributes:
        classes: the C names.
        labels: (N,) int64.
        probabilities: (N, C) float64.
        paths: the N pictures', relative to the data set, or as they were given.
    """

    classes: list[str]
    labels: Integers
    probabilities: Floats
    paths: list[str]

    @property
    def predicted(self) -> Integers:
        """(N,) int64, the first of equally probable classes."""
        found: Integers = self.probabilities.argmax(axis=1)
        return found

    @property
    def losses(self) -> Floats:
        """(N,) cross-entropy of each picture, in nats."""
        found: Floats = -np.log(_of_label(self.labels, self.probabilities))
        return found

    def worst(self, count: int) -> list[int]:
        """Wrong predictions, the highest loss first, at most so many."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return [int(i) for i in wrong[np.argsort(-self.losses[wrong], kind="stable")][:count]]


def measure(judgement: Judgement) -> dict[str, Any]:
    """All figures that are reported of a classifier on labelled pictures.

    Returns:
        What `records.judged` gives; `metrics`: by name a `value` and the 95 % `interval` of a
        percentile bootstrap over the pictures; `per_class`: by name `count`, `recall`,
        `precision_score`, each with its 95 % Wilson interval, and `f1`; `confusion`: C rows, by
        label, of C counts, by predicted class.

    Source: Efron, "Bootstrap methods", 1979, for the percentile interval.
    """
    labels, shares = judgement.labels, judgement.probabilities
    matrix = confusion(labels, judgement.predicted, len(judgement.classes))
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(labels), (RESAMPLES, len(labels)))
    return {
        **judged(labels.tolist(), shares.tolist()),
        "metrics": {
            name: {
                "value": function(labels, shares),
                "interval": _percentiles([function(labels[d], shares[d]) for d in draws]),
            }
            for name, function in METRICS.items()
        },
        "per_class": {
            name: _of_class(matrix, label) for label, name in enumerate(judgement.classes)
        },
        "confusion": matrix.tolist(),
    }


def confusion(labels: Integers, predicted: Integers, class_count: int) -> Integers:
    """(C, C) counts: a row a true class, a column a predicted one."""
    flat = np.bincount(labels * class_count + predicted, minlength=class_count**2)
    return flat.reshape(class_count, class_count).astype(np.int64)


def reliability(labels: Integers, probabilities: Floats, bins: int = BINS) -> Floats:
    """How often the prediction is right, by how sure it is.

    Returns:
        (K, 3): mean probability of the predicted class, share that is right, and count, of each
        of the equally wide bins that holds a picture.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    rows = [
        (sure[place == k].mean(), right[place == k].mean(), (place == k).sum())
        for k in np.unique(place)
    ]
    return np.array(rows, dtype=np.float64)


def expected_calibration_error(labels: Integers, probabilities: Floats) -> float:
    """Mean distance between how sure and how right, over BINS bins weighted by their pictures.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, eq. 3.
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(place, weights=sure - right)).sum() / len(labels))


def precision_recall(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats, float]:
    """The precision-recall curve of one class against the rest.

    Args:
        positive: (N,) whether a picture is of the class.
        scores: (N,) its probability.

    Returns:
        Recall and precision, (K,) each, at every distinct score from the highest down; and the
        average precision, the sum of precision over the steps of recall.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]  # of equal scores
    precision = hits[last] / (last + 1)
    recall = hits[last] / max(1, positive.sum())
    return recall, precision, float((np.diff(np.r_[0.0, recall]) * precision).sum())


def _log_loss(labels: Integers, probabilities: Floats) -> float:
    return float(-np.log(_of_label(labels, probabilities)).mean())


def _brier_score(labels: Integers, probabilities: Floats) -> float:
    """Source: Brier, 1950: squared distance to the truth, 0 to 2."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _balanced_accuracy(labels: Integers, probabilities: Floats) -> float:
    """Mean recall of the classes that are there."""
    right = probabilities.argmax(axis=1) == labels
    counts = np.bincount(labels)
    recalls = np.bincount(labels, weights=right)[counts > 0] / counts[counts > 0]
    return float(recalls.mean())


def _macro_f1(labels: Integers, probabilities: Floats) -> float:
    """Mean F1 of the classes that are there or predicted."""
    matrix = confusion(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    seen = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float((2 * matrix.diagonal()[seen > 0] / seen[seen > 0]).mean())


METRICS: dict[str, Callable[[Integers, Floats], float]] = {
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "brier_score": _brier_score,
    "expected_calibration_error": expected_calibration_error,
}


def _of_class(matrix: Integers, label: int) -> dict[str, Any]:
    hits, count, predicted = (
        int(matrix[label, label]),
        int(matrix[label].sum()),
        int(matrix[:, label].sum()),
    )
    return {
        "count": count,
        "recall": _share(hits, count),
        "precision_score": _share(hits, predicted),
        "f1": 2 * hits / (count + predicted) if count + predicted else None,
    }


def _share(hits: int, count: int) -> dict[str, Any] | None:
    if count == 0:
        return None
    return {"value": hits / count, "interval": list(wilson_interval(hits, count))}


def _of_label(labels: Integers, probabilities: Floats) -> Floats:
    """(N,) the true class's probability, kept above the smallest that predictions.csv can say."""
    found: Floats = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-8)
    return found


def _percentiles(values: Sequence[float]) -> list[float]:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])]
