"""In which order samples come, and with which augmentation: seed and epoch determine both."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler


class SampleKey(NamedTuple):
    """What a sampler asks a data set for: a sample, one of its views, and that view's seed."""

    index: int  # type: ignore[assignment] # a tuple has a method of that name
    view: int = 0
    seed: int = 0


class EpochKeys:
    """The keys of an epoch, each sample once; made when asked for, since a million take 200 MB.

    Epochs take turns with the `views` of a sample; where that is None, each has a view of its own.
    With `labels` (N,) each class has as many keys: samples come several times, or not at all.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = False,
        views: int | None = None,
        labels: Tensor | None = None,
    ) -> None:
        self._view = epoch if views is None else epoch % views
        self._seeds, order = _random(count, seed, epoch)
        if labels is not None:
            order = _balanced(labels[order], seed, epoch, order)
        self._indices = order if shuffle else torch.arange(count)
        if views is not None:
            self._seeds = _random(count, seed, self._view)[0][self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, at: int) -> SampleKey:
        return SampleKey(int(self._indices[at]), self._view, int(self._seeds[at]))


class EpochBatches(DistributedSampler[list[SampleKey]]):
    """The batches of an epoch, or a process's part of them; for DataLoader(batch_size=None).

    Lightning calls a DistributedSampler's `set_epoch`, and neither replaces nor wraps it. Every
    process has the same number of batches, and no sample comes twice. To train, the samples of a
    step are dealt out, so that all processes together take the steps that one with the larger batch
    would; fewer than `world_size` samples of an epoch may be left over. To evaluate, whole batches
    are dealt out, as one process would have them; the last one may be empty.

    Args:
        count: how many samples there are.
        batch_size: samples in a process's batch.
        train: shuffle, and deal out samples; otherwise keep the order, and deal out batches.
        seed: of the order and of the augmentation.
        views: see `EpochKeys`, and likewise labels.
        rank: of the process.
        world_size: how many processes there are.
        first_epoch: where a run begins or is resumed.
        first_batch: how many batches of that epoch were trained on before.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        train: bool = False,
        seed: int = 0,
        views: int | None = None,
        labels: Tensor | None = None,
        rank: int = 0,
        world_size: int = 1,
        first_epoch: int = 0,
        first_batch: int = 0,
    ) -> None:
        # all that the base class wants of a data set is its length
        super().__init__(range(count), world_size, rank, shuffle=train, seed=seed)  # type: ignore[arg-type]
        self.count, self.batch_size, self.views, self.labels = count, batch_size, views, labels
        self.epoch = first_epoch  # Lightning calls set_epoch before each epoch but the first
        self._done = {first_epoch: first_batch}

    def __len__(self) -> int:
        """Of the whole epoch, also where some of it is skipped: Lightning counts from its start."""
        if self.shuffle:
            return -(-(self.count // self.num_replicas) // self.batch_size)
        return -(-self.count // (self.batch_size * self.num_replicas))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        views, labels = self.views, self.labels
        keys = EpochKeys(self.count, self.seed, self.epoch, self.shuffle, views, labels)
        size, processes = self.batch_size, self.num_replicas
        step, dealt = size * processes, self.count - self.count % processes
        for start in range(self._done.get(self.epoch, 0) * step, len(self) * step, step):
            if self.shuffle:
                places = range(start + self.rank, min(start + step, dealt), processes)
            else:
                first = start + self.rank * size
                places = range(first, min(first + size, self.count))
            yield [keys[at] for at in places]


def _balanced(labels: Tensor, seed: int, epoch: int, order: Tensor) -> Tensor:
    """An order (N,) with as many samples of each class, give or take one; `labels` are its own."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    classes, chosen = sorted(set(labels.tolist())), []
    for number, label in enumerate(classes):
        of_class = order[labels == label]
        quota = (len(order) + (number + epoch) % len(classes)) // len(classes)
        chosen.append(of_class.repeat(-(-quota // len(of_class)))[:quota])
    picked = torch.cat(chosen)
    return picked[torch.randperm(len(picked), generator=generator)]


def _random(count: int, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Seeds (N,) int64 and an order (N,) int64, which no release may change."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    seeds = torch.randint(2**62, (count,), generator=generator)
    return seeds, torch.randperm(count, generator=generator)
