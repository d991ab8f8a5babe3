"""A DataLoader: which processes read, and how what they read becomes a batch."""

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from hymenoptera.cores import reader_count
from hymenoptera.data.augmentation import CropDataset
from hymenoptera.data.dataset import FeatureDataset, PictureDataset, Transform, collate
from hymenoptera.data.folders import Sample
from hymenoptera.data.order import EpochSampler

AnyDataset = PictureDataset | CropDataset | FeatureDataset

GRACE_S = 8  # for which a process that reads pictures outlives its SIGTERM


def make_loader(
    dataset: AnyDataset, workers: int, *, persistent: bool = True, **options: Any
) -> DataLoader[Any]:
    """A loader of a data set's batches.

    Args:
        dataset: of pictures, of places to crop, or of features, which are in memory already.
        workers: processes that read pictures.
        persistent: whether they stay from one epoch to the next.
        options: of the DataLoader, which say what is in a batch.
    """
    count = 0 if isinstance(dataset, FeatureDataset) else workers
    return DataLoader(
        dataset,
        collate_fn=collate_for(dataset),
        num_workers=count,
        persistent_workers=persistent and count > 0,
        worker_init_fn=_leave_signals_alone,
        **options,
    )


def load_in_order(samples: Sequence[Sample], transform: Transform) -> DataLoader[Any]:
    """A loader of all batches, once: transformed pictures and their labels."""
    dataset = PictureDataset(samples, transform)
    order = EpochSampler(len(dataset), seed=0, shuffle=False)
    return make_loader(dataset, reader_count(), persistent=False, batch_size=32, sampler=order)


def collate_for(dataset: AnyDataset) -> Callable[[list[Any]], Any]:
    """What makes a batch of a data set's samples."""
    return dataset.collate if isinstance(dataset, CropDataset) else collate


def _leave_signals_alone(worker: int) -> None:
    """What is sent to all processes: those that read pictures go on, the run's own decides.

    After a SIGTERM not for long. The run would wait five seconds for a batch of a process that is
    gone at once; but one that it has told to end must end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon)


def _end_soon(number: int, frame: FrameType | None) -> None:
    signal.alarm(GRACE_S)
