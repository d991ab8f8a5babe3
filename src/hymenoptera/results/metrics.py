"""What predictions are worth: one mapping of figures, each with its interval. Needs no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymenoptera.results.records import judged
from hymenoptera.results.resampling import (
    BINS,
    METRICS,
    Floats,
    Integers,
    bins_of,
    calibration_error,
    resamples,
)
from hymenoptera.results.statistics import wilson_interval


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
    resampled = [
        [function(weights, judgement) for function in METRICS.values()]
        for weights in resamples(len(labels))
    ]
    return {
        **judged(labels.tolist(), shares.tolist()),
        "metrics": {
            name: {
                "value": float(function(np.ones((1, len(labels))), judgement)[0]),
                "interval": np.percentile(np.concatenate(values), [2.5, 97.5]).tolist(),
            }
            for (name, function), values in zip(
                METRICS.items(), zip(*resampled, strict=True), strict=True
            )
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
    place = bins_of(sure, bins)
    rows = [
        (sure[place == k].mean(), right[place == k].mean(), (place == k).sum())
        for k in np.unique(place)
    ]
    return np.array(rows, dtype=np.float64)


def expected_calibration_error(judgement: Judgement) -> float:
    """Mean distance between how sure and how right, over BINS bins weighted by their pictures."""
    return float(calibration_error(np.ones((1, len(judgement.labels))), judgement)[0])


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
