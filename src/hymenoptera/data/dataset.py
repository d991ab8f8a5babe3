"""Pictures as tensors, in an order and with an augmentation that seed and epoch determine."""

from collections.abc import Callable, Iterator

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from hymenoptera.data.folders import Sample
from hymenoptera.data.pictures import read_picture

Transform = Callable[[Image.Image], Tensor]
Draw = tuple[int, int]  # index of a sample, and the seed of its augmentation


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """Samples, read and transformed.

    The seed of a picture's augmentation comes with its index, from the sampler: which process
    reads it, and what was read before, makes no difference.
    """

    def __init__(self, samples: list[Sample], transform: Transform) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        index, seed = draw
        sample = self.samples[index]
        picture = read_picture(sample.path)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(picture), sample.label


class EpochSampler(Sampler[Draw]):
    """Every sample once an epoch, with a fresh seed for its augmentation.

    Args:
        count: how many samples there are.
        seed: of the order and of the augmentation.
        shuffle: a new order every epoch, instead of the samples' own.
        epoch: the first one, from 0.
    """

    def __init__(self, count: int, seed: int, shuffle: bool, epoch: int = 0) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the next epoch; the Trainer calls it before each but the first."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        seeds = torch.randint(2**62, (self.count,), generator=generator).tolist()
        order = (
            torch.randperm(self.count, generator=generator).tolist()
            if self.shuffle
            else range(self.count)
        )
        return iter(zip(order, seeds, strict=True))
