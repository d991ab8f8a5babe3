"""Pictures as tensors, in an order and with an augmentation that seed and epoch determine."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from hymenoptera.data.decoded import Decoded
from hymenoptera.data.folders import Sample
from hymenoptera.data.pictures import read_picture

Transform = Callable[[Image.Image], Tensor]


class Draw(NamedTuple):
    """What a sampler asks of a data set.

    Attributes:
        sample: its position among the samples.
        view: which of its augmented views, from 0.
        seed: of that view's augmentation.
    """

    sample: int
    view: int
    seed: int


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
        self, samples: list[Sample], transform: Transform, decoded: Decoded | None = None
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

    def __init__(self, features: Tensor, rows: list[int], labels: list[int]) -> None:
        self.features = features
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        row = self.rows[draw.sample] + draw.view * len(self)
        return self.features[row], self.labels[draw.sample]


class EpochSampler(Sampler[Draw]):
    """Every sample once an epoch, with the seed of its augmentation.

    Args:
        count: how many samples there are.
        seed: of the order and of the augmentation.
        shuffle: a new order every epoch, instead of the samples' own.
        views: how many views of a sample there are, with which the epochs take turns; None for
            another one in every epoch.
        epoch: the first one, from 0.
    """

    def __init__(
        self, count: int, seed: int, shuffle: bool, views: int | None = None, epoch: int = 0
    ) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.views = views
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the next epoch; the Trainer calls it before each but the first."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        generator = self._generator(self.epoch)
        seeds = self._seeds(generator)
        order = (
            torch.randperm(self.count, generator=generator).tolist()
            if self.shuffle
            else range(self.count)
        )
        if self.views is None:
            return (Draw(index, self.epoch, s) for index, s in zip(order, seeds, strict=True))
        view = self.epoch % self.views
        seeds = self._seeds(self._generator(view))
        return (Draw(index, view, seeds[index]) for index in order)

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)

    def _seeds(self, generator: torch.Generator) -> list[int]:
        return torch.randint(2**62, (self.count,), generator=generator).tolist()
