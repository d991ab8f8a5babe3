"""Data sets that take a `SampleKey`, and the processes that read them."""

import signal
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from hymenoptera.data.samples import Samples
from hymenoptera.data.sampling import SampleKey

Item = tuple[Tensor, int]
GRACE_S = 8  # for which a worker outlives its SIGTERM


class ImageDataset(Dataset[Any]):
    """Samples, read and transformed.

    The seed of an image's augmentation comes with its key, from the sampler: which process reads
    it, and what was read before, makes no difference. A list of keys gives a list of items, and an
    index stands for a key with seed 0.

    Args:
        samples: the images.
        transform: from an upright RGB image, or what `decoded` has of it, to a tensor.
        decoded: (3, H, W) uint8 of each image, where they need not be read.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Callable[[Any], Tensor],
        decoded: list[Tensor] | None = None,
    ) -> None:
        self.labels, self.transform = samples.labels, transform
        self.read: Callable[[int], Any] = decoded.__getitem__ if decoded else samples.read

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: SampleKey | int | list[SampleKey]) -> Any:
        if isinstance(key, list):
            return [self.item(one) for one in key]
        return self.item(key if isinstance(key, SampleKey) else SampleKey(int(key)))

    def item(self, key: SampleKey) -> Item:
        """An image as its transform gives it, and its label."""
        image = self.read(key.index)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key.seed)  # the CPU's, where images are read
            return self.transform(image), int(self.labels[key.index])

    def collate(self, items: list[Item]) -> Any:
        """A batch of items: inputs (B, ...) float32 and labels (B,) int64; B may be 0."""
        inputs, labels = default_collate(items or [self[0]])
        return inputs[: len(items)], labels[: len(items)]


class FeatureDataset(ImageDataset):
    """Samples whose features a network has computed.

    Args:
        features: (R, D) float32, all that were computed.
        rows: (N,) where each sample's first view stands in them; the other views follow, each
            after a whole round of the samples.
        labels: (N,) of the samples.
    """

    def __init__(self, features: Tensor, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        self.features, self.rows, self.labels = features, rows, labels

    def item(self, key: SampleKey) -> Item:
        """The features of a view of a sample, and its label."""
        row = int(self.rows[key.index]) + key.view * len(self)
        return self.features[row], int(self.labels[key.index])


def make_loader(dataset: Dataset[Any], workers: int, **options: Any) -> DataLoader[Any]:
    """A DataLoader whose workers stay from epoch to epoch, and leave signals to the run."""
    return DataLoader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_alone,
        **options,
    )


def _leave_signals_alone(worker: int) -> None:
    """Signals go to all processes of a run: the workers continue, the main process decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A run would wait five seconds for a batch of a worker that is gone at once. But a worker that
    # the run has told to end must end.
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
