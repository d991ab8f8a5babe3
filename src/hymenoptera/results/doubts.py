"""Labels that are likely wrong, by what a classifier says that was not trained on them.

A label is in doubt where a regression that was fitted to the other folds finds another class more
probable, and clearly so. A strong penalty keeps it from learning the wrong labels by heart. (The
class thresholds of confident learning, Northcutt et al. 2021, found fewer of the planted ones.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

CLEAR = 1.2
"""How much more probable another class must be than the one that a picture is labelled with."""


@dataclass(frozen=True)
class Doubt:
    """A picture whose label is in doubt.

    Attributes:
        position: among the pictures.
        suggested: the label that it seems to have.
        probability: of that label, out of fold.
        of_given: probability of the label that it has.
    """

    position: int
    suggested: int
    probability: float
    of_given: float


def out_of_fold(
    features: Floats, labels: Sequence[int], fold_of: Sequence[int], class_count: int
) -> Floats:
    """Probabilities from a logistic regression that was fitted to the other folds.

    Args:
        features: (N, D).
        labels: of the N pictures, from 0.
        fold_of: of the N pictures, from 0; each class is in two folds or more.
        class_count: C.

    Returns:
        (N, C), each row summing to 1.
    """
    targets, folds = np.asarray(labels), np.asarray(fold_of)
    found = np.zeros((len(targets), class_count))
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        mean, spread = features[~out].mean(axis=0), features[~out].std(axis=0) + 1e-6
        weights = _fit((features[~out] - mean) / spread, targets[~out], class_count)
        found[out] = _softmax(_with_one((features[out] - mean) / spread) @ weights)
    return found


def doubtful(probabilities: Floats, labels: Sequence[int]) -> list[Doubt]:
    """Pictures whose label is in doubt, the most doubtful first.

    Args:
        probabilities: (N, C), out of fold.
        labels: of the N pictures.
    """
    given = np.asarray(labels)
    best = probabilities.argmax(axis=1)
    rows = np.arange(len(given))
    clear = probabilities[rows, best] >= CLEAR * probabilities[rows, given]
    doubts = [
        Doubt(
            int(position),
            int(best[position]),
            float(probabilities[position, best[position]]),
            float(probabilities[position, given[position]]),
        )
        for position in np.flatnonzero((best != given) & clear)
    ]
    return sorted(doubts, key=lambda doubt: doubt.of_given)


def _fit(
    features: Floats, labels: NDArray[np.int64], class_count: int, decay: float = 0.1
) -> Floats:
    """Weights (D + 1, C) of a logistic regression with an L2 penalty, the bias left out of it."""
    inputs = _with_one(features)
    one_hot = np.eye(class_count)[labels]
    shape = (inputs.shape[1], class_count)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        shares = _softmax(inputs @ weights)
        penalised = np.vstack([weights[:-1], np.zeros(class_count)])
        value = -np.log((shares * one_hot).sum(axis=1) + 1e-12).mean()
        value += decay / 2 * (penalised**2).sum()
        slope = inputs.T @ (shares - one_hot) / len(inputs) + decay * penalised
        return float(value), slope.ravel()

    best = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
    weights: Floats = best.x.reshape(shape)
    return weights


def _with_one(features: Floats) -> Floats:
    return np.hstack([features, np.ones((len(features), 1))])


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = shares / shares.sum(axis=1, keepdims=True)
    return found
