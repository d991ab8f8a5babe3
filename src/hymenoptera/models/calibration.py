"""What a prediction is worth: calibrated probabilities, and sets with a stated coverage.

Both are fitted to the validation images, and neither ever changes the predicted class.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hymenoptera.errors import ConfigError
from hymenoptera.models.familiarity import Familiarity

FOLDS = 5  # of the cross-fit
LOWEST, HIGHEST = 0.05, 20.0  # temperature


@dataclass(frozen=True)
class Calibration:
    """What a checkpoint holds to say how far its predictions can be trusted.

    Attributes:
        temperature: logits are divided by it, see `fit_temperature`.
        scores: (N,) float64 of the validation images, ascending, see `conformal_scores`.
        familiarity: None where the training images' features cannot be had.
    """

    temperature: float
    scores: Tensor
    familiarity: Familiarity | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where these are of another kind, as in a damaged checkpoint."""
        if not (isinstance(self.temperature, float) and self.scores.ndim == 1):
            raise ValueError("calibration")

    @classmethod
    def fit(
        cls, logits: Tensor, labels: Tensor, familiarity: Familiarity | None = None
    ) -> "Calibration":
        """From the logits (N, C) and labels (N,) of the validation images."""
        temperature = fit_temperature(logits, labels)
        return cls(temperature, conformal_scores(logits / temperature, labels), familiarity)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Calibration":
        """From what `to_dict` gave."""
        known = values["familiarity"]
        return cls(**values | {"familiarity": None if known is None else Familiarity(**known)})

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        familiarity = None if self.familiarity is None else vars(self.familiarity)
        return {**vars(self), "familiarity": familiarity}

    @property
    def max_coverage(self) -> float:
        """The highest coverage that so many validation images allow: N / (N + 1)."""
        return len(self.scores) / (len(self.scores) + 1)

    def least_probability(self, coverage: float) -> float:
        """The calibrated probability from which on a class is in the set of this coverage.

        The set of an image that is exchangeable with the validation images has the image's class
        with probability `coverage` or more. It may have several classes, or none.

        Raises:
            ConfigError: the coverage is not between 0 and 1, or there are too few images for it.
        """
        if not 0 < coverage < 1:
            raise ConfigError(f"--coverage {coverage:g}: it must be above 0 and below 1.")
        count = len(self.scores)
        rank = math.ceil(round(coverage * (count + 1), 9))  # 0.95 of 100 is 95, not a bit more
        if rank > count:
            raise ConfigError(
                f"--coverage {coverage:g}: the {count} images that this checkpoint was validated "
                f"on allow up to {math.floor(1000 * self.max_coverage) / 1000:g}."
            )
        return 1 - float(self.scores[rank - 1])


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T with which softmax(logits / T) fits labelled images best.

    Logits are (N, C), labels (N,). Above 1, the classifier was too sure. T minimises the
    cross-entropy (Guo et al., "On Calibration of Modern Neural Networks", 2017), to labels that
    leave 1 / (N + 2) to the other classes (Platt, "Probabilistic Outputs for Support Vector
    Machines", 1999): of images that are all correct nobody can conclude that it is always right.
    """
    from scipy.optimize import minimize_scalar

    exact, count = logits.double(), len(labels)

    def loss(log_temperature: float) -> float:
        log_p = (exact / math.exp(log_temperature)).log_softmax(dim=1)
        correct = log_p.gather(1, labels[:, None]).squeeze(1)
        others = (log_p.sum(dim=1) - correct) / max(1, logits.shape[1] - 1)
        return -float((correct * (count + 1) + others).mean()) / (count + 2)

    found = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return math.exp(found.x)


def cross_fitted(logits: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Calibrated probabilities (N, C) float64, by a temperature fitted without the image's fold.

    What they show is not measured on what it was fitted to. With fewer than FOLDS images each is
    a fold.
    """
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randperm(len(labels), generator=generator) % FOLDS
    probabilities = torch.empty(logits.shape, dtype=torch.float64)
    for number in range(FOLDS):
        out = fold == number
        temperature = fit_temperature(logits[~out], labels[~out])
        probabilities[out] = (logits[out].double() / temperature).softmax(dim=1)
    return probabilities


def conformal_scores(logits: Tensor, labels: Tensor) -> Tensor:
    """1 less the probability of each image's class, (N,) float64, ascending.

    Of split conformal prediction with the least ambiguous sets (Sadinle, Lei and Wasserman, "Least
    Ambiguous Set-Valued Classifiers with Bounded Error Levels", 2019; Angelopoulos and Bates, "A
    Gentle Introduction to Conformal Prediction", 2021).
    """
    probabilities = logits.double().softmax(dim=1)
    return (1 - probabilities.gather(1, labels[:, None]).squeeze(1)).sort().values
