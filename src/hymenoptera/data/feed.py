"""Decoded pictures in place of files: the data sets over them, and what is done on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from hymenoptera.data.augmentation import CropDataset, Crops, gather, resize_crops
from hymenoptera.data.dataset import PictureDataset
from hymenoptera.data.decoded import Decoded
from hymenoptera.data.folders import Sample
from hymenoptera.preprocessing import Preprocessing


@dataclass(frozen=True)
class FeedOptions:
    """What the config says, see `PictureDataModule`."""

    cache: Literal["auto", "none", "ram", "disk"]
    size_px: int | Literal["auto"]
    folder: Path
    augment_on: Literal["auto", "cpu", "device"]


@dataclass
class Feed:
    """What the loaders give once pictures are decoded.

    Attributes:
        train: the training pictures: whole where they are augmented, framed where they are not.
        val: the validation pictures, framed: to the bit what decoding each time would give.
        preprocessing: of the weights.
        augment_on: where crops, flips and normalisation are computed.
        crop: of the training pictures; None where they are not augmented.
        flip_probability: likewise.
        travels: whether batches carry the pixels of crops to the device, should it make them;
            otherwise it has the training pictures.
    """

    train: Decoded
    val: Decoded
    preprocessing: Preprocessing
    augment_on: Literal["cpu", "device"]
    crop: v2.RandomResizedCrop | None
    flip_probability: float
    travels: bool = False
    _there: Tensor | None = field(default=None, init=False)  # the training pictures' pixels

    @property
    def is_on_device(self) -> bool:
        """Whether the device has all training pictures, and batches say only where to crop."""
        return self.augment_on == "device" and self.crop is not None and not self.travels

    @property
    def pinned(self) -> bool:
        """Whether batches should wait in memory that a GPU copies from by itself."""
        return self.augment_on == "device" and torch.cuda.is_available()

    def train_dataset(self, samples: Sequence[Sample]) -> PictureDataset | CropDataset:
        """The training pictures, in the order that `train` has them."""
        if self.crop is None:
            return self._framed(samples, self.train)
        if self.augment_on == "device":
            return CropDataset(
                self.train, samples, self.crop, self.flip_probability, travels=self.travels
            )
        flip = v2.RandomHorizontalFlip(self.flip_probability)
        transform = v2.Compose([self.crop, flip, self.preprocessing.to_tensor()])
        return PictureDataset(samples, transform, self.train)

    def val_dataset(self, samples: Sequence[Sample]) -> PictureDataset:
        """The validation pictures, in the order that `val` has them."""
        return self._framed(samples, self.val)

    def finish(self, batch: Any) -> tuple[Tensor, Tensor]:
        """What is left to do for a batch, on the device where it is.

        Args:
            batch: of a loader over these data sets, on any device.

        Returns:
            Images (B, 3, H, W) float32, normalised, and labels (B,) int64.
        """
        if isinstance(batch, Crops):
            return self.preprocessing.normalise(self._crops(batch)), batch.labels
        images, labels = batch
        if images.dtype == torch.uint8:
            images = self.preprocessing.normalise(images)
        return images, labels

    def _crops(self, batch: Crops) -> Tensor:
        """(B, 3, H, W) uint8."""
        crops = batch.pixels
        if not self.travels:
            if self._there is None or self._there.device != batch.table.device:
                self._there = self.train.pixels.to(batch.table.device)  # once; on a CPU, no copy
            crops = gather(self._there, batch.table, batch.room)
        side_px, mode = self.preprocessing.crop_px, self.preprocessing.interpolation
        return resize_crops(crops, batch.table, side_px, mode)

    def _framed(self, samples: Sequence[Sample], decoded: Decoded) -> PictureDataset:
        on_cpu = self.augment_on == "cpu"
        transform = self.preprocessing.to_tensor() if on_cpu else v2.PILToTensor()
        return PictureDataset(samples, transform, decoded)


class Finished:
    """The batches of a loader, finished: for what is not a Trainer.

    Args:
        loader: over data sets of a feed.
        feed: whose `finish` they go through.
    """

    def __init__(self, loader: DataLoader[Any], feed: Feed) -> None:
        self._loader = loader
        self._feed = feed

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self._feed.finish(batch) for batch in self._loader)
