"""Familiar or not: how far an image is from the training images, in the backbone's features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import normalize

NEIGHBOUR = 1  # the k-th nearest training image; benchmarks/trust.py: 1, 3 and 10 are as good
UNFAMILIAR_SHARE = 0.05  # of the validation images that are called unfamiliar
MAX_PER_CLASS = 1000  # training images that are kept, at random where a class has more
MAX_KEPT = 20_000  # and of all classes together: 20 MB with 512 features


@dataclass(frozen=True)
class Familiarity:
    """The training images' features, and how far from them the validation images are.

    The distance is 1 less the cosine of the angle between two images' features, to the k-th
    nearest training image (Sun et al., "Out-of-Distribution Detection with Deep Nearest
    Neighbors", 2022). An image's familiarity is the share of the validation images, itself
    counted among them, that are at least as far away: a conformal p-value (Bates et al., "Testing
    for Outliers with Conformal p-values", 2023). Of images like those, a share of `share` at the
    most is called unfamiliar.

    Attributes:
        features: (M, D) float16, of length 1.
        names: of these M training images, as the data set has them.
        labels: their classes, M numbers.
        distances: (N,) float32, of the validation images, ascending.
        share: of images like the validation images that may be called unfamiliar.
    """

    features: Tensor
    names: list[str]
    labels: list[int]
    distances: Tensor
    share: float = UNFAMILIAR_SHARE

    def __post_init__(self) -> None:
        """Raise ValueError where these do not fit together, as in a damaged checkpoint."""
        (count, _), numbers = self.features.shape, torch.tensor([*self.labels, self.share])
        if len(self.names) != count or numbers.shape != (count + 1,) or self.distances.ndim != 1:
            raise ValueError("familiarity")

    @classmethod
    def fit(
        cls,
        train: Tensor,
        names: Sequence[str],
        labels: ArrayLike,
        validation: Tensor,
        share: float = UNFAMILIAR_SHARE,
    ) -> "Familiarity":
        """From the features (M, D) of training images and those (N, D) of validation images."""
        kept = normalize(train.float(), dim=1).half()
        distances = nearest(validation, kept)[0][:, -1].sort().values
        return cls(kept, list(names), np.asarray(labels).tolist(), distances, share)

    def of(self, distances: Tensor) -> Tensor:
        """Distances (B,) -> familiarity (B,), above 0 and 1 or less."""
        own = self.distances.to(distances.device)
        nearer = torch.searchsorted(own, distances.to(own.dtype).contiguous())
        return (1 + len(own) - nearer) / (1 + len(own))


def nearest(features: Tensor, train: Tensor, count: int = NEIGHBOUR) -> tuple[Tensor, Tensor]:
    """The `count` nearest of M training images (M, D): distances and rows, (B, count) each.

    Features are (B, D) of any length; those of the training images have length 1.
    """
    similarities = normalize(features.float(), dim=1) @ train.float().T  # (B, M)
    found = similarities.topk(min(count, len(train)), dim=1)
    return 1 - found.values, found.indices


def chosen(labels: ArrayLike, class_count: int, seed: int = 0) -> list[int]:
    """Which training images are kept: MAX_PER_CLASS of each class, MAX_KEPT of all, at random."""
    most = max(1, min(MAX_PER_CLASS, MAX_KEPT // class_count))
    of, generator = np.asarray(labels), np.random.default_rng(seed)
    order = generator.permutation(len(of))
    rows = [order[of[order] == label][:most] for label in range(class_count)]
    return sorted(np.concatenate(rows).tolist())
