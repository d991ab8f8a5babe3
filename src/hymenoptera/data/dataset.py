"""Pictures as tensors, or what a network's lower part made of them."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from hymenoptera.data.decoded import Decoded
from hymenoptera.data.folders import Sample
from hymenoptera.data.order import Draw
from hymenoptera.data.pictures import read_picture

Transform = Callable[[Image.Image], Tensor]


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """Samples, read and transformed.

    The seed of a picture's augmentation comes with its index, from the sampler: which process
    reads it, and what was read before, makes no difference.

    Args:
        samples: what there is.
        transform: from a picture to a tensor.
        decoded: the samples' pictures; None to read their files.
    """

    def __init__(
        self, samples: Sequence[Sample], transform: Transform, decoded: Decoded | None = None
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.decoded = decoded

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        sample = self.samples[draw.sample]
        if self.decoded is None:
            picture = read_picture(sample.path)
        else:
            picture = self.decoded.picture(draw.sample)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.seed)  # the CPU's, where pictures are read
            return self.transform(picture), sample.label


class FeatureDataset(Dataset[tuple[Tensor, int]]):
    """Samples of which a network's lower part has been computed.

    Args:
        features: (R, ...) float32, all that was computed.
        rows: where each sample's first view stands in it; the other views follow, each after a
            whole round of the samples.
        labels: of the samples.
    """

    def __init__(self, features: Tensor, rows: Sequence[int], labels: Sequence[int]) -> None:
        self.features = features
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        row = self.rows[draw.sample] + draw.view * len(self)
        return self.features[row], self.labels[draw.sample]


def collate(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """A batch of samples; of none, two tensors of length 0."""
    if not samples:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    images, labels = default_collate(samples)
    return images, labels
