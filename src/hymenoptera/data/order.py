"""In which order samples come, and with which augmentation: as seed and epoch determine."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.utils.data import Sampler


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


class Draws(Sequence[Draw]):
    """The draws of an epoch, in order: made when asked for, since a million take 200 MB.

    Args:
        samples: (N,) int64, positions.
        seeds: (N,) int64.
        view: of all of them.
    """

    def __init__(self, samples: Tensor, seeds: Tensor, view: int) -> None:
        self._samples = samples
        self._seeds = seeds
        self._view = view

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, at: int) -> Draw: ...
    @overload
    def __getitem__(self, at: slice) -> list[Draw]: ...
    def __getitem__(self, at: int | slice) -> Draw | list[Draw]:
        if not isinstance(at, slice):
            return Draw(int(self._samples[at]), self._view, int(self._seeds[at]))
        chosen = zip(self._samples[at].tolist(), self._seeds[at].tolist(), strict=True)
        return [Draw(sample, self._view, seed) for sample, seed in chosen]

    def __iter__(self) -> Iterator[Draw]:
        for start in range(0, len(self), 4096):
            yield from self[start : start + 4096]


class EpochSampler(Sampler[Draw]):
    """Every sample once an epoch, with the seed of its augmentation.

    Args:
        count: how many samples there are.
        seed: of the order and of the augmentation.
        shuffle: a new order every epoch, instead of the samples' own.
        views: how many views of a sample there are, with which the epochs take turns; None for
            another one in every epoch.
        epoch: the first one, from 0.
        skip: how many of the first one's samples were had before.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        shuffle: bool,
        views: int | None = None,
        epoch: int = 0,
        *,
        skip: int = 0,
    ) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.views = views
        self.epoch = epoch
        self._skip = {epoch: skip}
        self._shards: Tensor | None = None
        self._shards_at_once = 1

    def go_by(self, shards: Tensor, at_once: int) -> None:
        """Go through shards, some at a time, themselves in a new order every epoch.

        Where there are no more than that, the order is what it is without shards.

        Args:
            shards: (N,) int64, in which one each sample is.
            at_once: among how many of them samples are shuffled.
        """
        self._shards = shards
        self._shards_at_once = at_once

    def set_epoch(self, epoch: int) -> None:
        """Choose the next epoch; the Trainer calls it before each but the first."""
        self.epoch = epoch

    def rewind(self) -> None:
        """Go back to the whole of the run's very first epoch, wherever it was resumed."""
        self.epoch = 0
        self._skip = {}

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws())

    def draws(self) -> Draws:
        """Those of this epoch, in its order."""
        generator = self._generator(self.epoch)
        seeds = self._seeds(generator)
        order = (
            torch.randperm(self.count, generator=generator)
            if self.shuffle
            else torch.arange(self.count)
        )
        view = self.epoch
        if self.views is not None:
            view = self.epoch % self.views
            seeds = self._seeds(self._generator(view))[order]
        if self.shuffle and self._shards is not None:
            places = self._by_shards(self._shards[order], generator)
            order, seeds = order[places], seeds[places]
        done = self._skip.get(self.epoch, 0)
        return Draws(order[done:], seeds[done:], view)

    def _by_shards(self, shards: Tensor, generator: torch.Generator) -> Tensor:
        """Where samples in random order go, so that few shards are read at a time."""
        names, numbers = shards.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        turns = torch.randperm(len(names), generator=generator) // self._shards_at_once
        return turns[numbers].argsort(stable=True)

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)

    def _seeds(self, generator: torch.Generator) -> Tensor:
        return torch.randint(2**62, (self.count,), generator=generator)


class Batches(Sampler[list[Draw]]):
    """The batches of an epoch, or of each process its part of them.

    Every process has the same number of batches, and no sample comes twice. To train, a step's
    `batch_size * world_size` samples are dealt out in turn, so that all processes together take
    the steps that one with the larger batch would; what cannot be dealt out evenly, fewer than
    `world_size` samples at the end of an epoch's order, waits for an epoch that has it elsewhere.
    To validate, whole batches are dealt out, so that each is the batch it is for a single
    process; where they do not come out even, the last one is empty.

    Args:
        sampler: the epoch's order, the same in all processes.
        batch_size: samples in a process's batch.
        train: deal out samples; otherwise batches.
        rank: of the process.
        world_size: how many there are.
    """

    def __init__(
        self,
        sampler: EpochSampler,
        batch_size: int,
        *,
        train: bool,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sampler = sampler  # where the Trainer looks for set_epoch
        self.batch_size = batch_size
        self.train = train
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        if self.train:
            return -(-(len(self.sampler) // self.world_size) // self.batch_size)
        return -(-len(self.sampler) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[Draw]]:
        order = self.sampler.draws()
        step = self.batch_size * self.world_size
        if self.train:
            dealt = len(order) - len(order) % self.world_size
            for start in range(0, dealt, step):
                yield order[start : min(start + step, dealt)][self.rank :: self.world_size]
            return
        for start in range(self.rank * self.batch_size, len(self) * step, step):
            yield order[start : start + self.batch_size]
