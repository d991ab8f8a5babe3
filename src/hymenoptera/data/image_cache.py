"""Decoded images, kept in memory; random crops of them on the device."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from hymenoptera.data.dataset import ImageDataset
from hymenoptera.data.manifest import in_threads
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import Samples
from hymenoptera.errors import ConfigError

SIZE = 12 / 7  # of the network's input: 384 px for 224


class Crops(NamedTuple):
    """A batch of B crops that are still to be resized."""

    pixels: Tensor  # (P,) uint8, one crop after the other, 3 by height by width
    sizes: list[tuple[int, int]]  # height and width: numbers, which stay on the host
    labels: Tensor  # (B,) int64


class RandomCrop(v2.RandomResizedCrop):  # type: ignore[misc] # torchvision has no types
    """The crop that RandomResizedCrop chooses for the same seed, not resized."""

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        """Crop an image, (3, H, W)."""
        return v2.functional.crop(inpt, **params)


class CropDataset(ImageDataset):
    """Items are crops of any size, and labels."""

    def collate(self, items: list[tuple[Tensor, int]]) -> Crops:
        """A batch of items, of which there may be none."""
        pixels = [crop.reshape(-1) for crop, _ in items] or [torch.empty(0, dtype=torch.uint8)]
        sizes = [(crop.shape[1], crop.shape[2]) for crop, _ in items]
        return Crops(torch.cat(pixels), sizes, torch.tensor([label for _, label in items]).long())


class ImageCache:
    """Decoded images of an `ImageDataModule`: framed, or whole where they are to be augmented.

    Args:
        module: the data module.
        preprocessing: what the network expects.
        on_device: whether crops, flips and normalisation are computed there.

    Raises:
        ConfigError: the images do not fit into the memory.
    """

    def __init__(self, module: Any, preprocessing: Preprocessing, on_device: bool) -> None:
        self.module, self.preprocessing, self.on_device = module, preprocessing, on_device
        self.size_px = None if module.views == 0 else _size_px(module, preprocessing)
        self.train = _decoded(module.train, self.size_px or preprocessing)  # (3, H, W) uint8 each
        self.val = _decoded(module.val, preprocessing)

    def train_dataset(self) -> ImageDataset:
        """The training images, by `SampleKey`."""
        crop = self.preprocessing.random_crop(self.module.crop_scale)
        flip = v2.RandomHorizontalFlip(self.module.flip_probability)
        if self.size_px is None:
            return ImageDataset(self.module.train, self._to_input(), self.train)
        if self.on_device:
            transform = v2.Compose([RandomCrop(crop.size, crop.scale), flip])
            return CropDataset(self.module.train, transform, self.train)
        transform = v2.Compose([v2.ToPILImage(), crop, flip, self.preprocessing.to_tensor()])
        return ImageDataset(self.module.train, transform, self.train)

    def val_dataset(self) -> ImageDataset:
        """The validation images, by `SampleKey`: to the bit what decoding each time would give."""
        return ImageDataset(self.module.val, self._to_input(), self.val)

    def finish(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) float32, normalised on their device, and labels (B,) int64."""
        images, labels = (self._resized(batch), batch.labels) if isinstance(batch, Crops) else batch
        is_raw = images.dtype == torch.uint8
        return self.preprocessing.normalise(images) if is_raw else images, labels

    def summary(self) -> dict[str, Any]:
        """What a run's record says of the cache."""
        return {
            "cache": "ram",
            "augment_on": "device" if self.on_device else "cpu",
            "size_px": self.size_px,
            "size_bytes": sum(image.numel() for image in [*self.train, *self.val]),
        }

    def _to_input(self) -> Any:
        return v2.Identity() if self.on_device else self.preprocessing.normalise

    def _resized(self, batch: Crops) -> Tensor:
        """(B, 3, H, W) uint8."""
        crop = self.preprocessing.random_crop()
        images = torch.empty(len(batch.sizes), 3, *crop.size, device=batch.pixels.device)
        parts = torch.split(batch.pixels, [3 * height * width for height, width in batch.sizes])
        for image, part, size in zip(images, parts, batch.sizes, strict=True):
            pixels = part.view(3, *size).float()
            image.copy_(v2.functional.resize(pixels, crop.size, crop.interpolation))
        return images.round_().clamp_(0, 255).to(torch.uint8)


def image_cache(
    module: Any, preprocessing: Preprocessing, device: torch.device
) -> ImageCache | None:
    """The cache that the options of a data module ask for; None for none.

    Raises:
        ConfigError: the options are invalid, or the images do not fit into the memory.
    """
    kind, augment_on = module.cache, module.augment_on
    if kind == "auto":  # a CPU's network is slower than the decoding; a GPU waits for it
        count = len(module.train) + len(module.val)
        needed = 4 * _size_px(module, preprocessing) ** 2 * count  # bytes, of 4:3 images
        fits = device.type != "cpu" and needed < free_memory_bytes() / 2
        kind = "ram" if fits or augment_on == "device" else "none"
    if kind == "ram":
        on_device = augment_on == "device" or (augment_on == "auto" and device.type == "cuda")
        return ImageCache(module, preprocessing, on_device)
    if augment_on == "device":
        raise ConfigError("data.augment_on=device needs data.cache=ram.")
    return None


def free_memory_bytes() -> int:
    """What may still be taken of the machine's memory, or of its container's limit."""
    free = [1 << 62]
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text()
        free += [1024 * int(found) for found in re.findall(r"MemAvailable: *(\d+)", text)]
        limit, used = (Path(f"/sys/fs/cgroup/memory.{n}").read_text() for n in ("max", "current"))
        free.append(int(limit) - int(used))  # "max" is no number: there is no limit
    return min(free)


def _size_px(module: Any, preprocessing: Preprocessing) -> int:
    auto = module.cache_size == "auto"
    return round(SIZE * preprocessing.crop_px) if auto else int(module.cache_size)


def _decoded(samples: Samples, size: int | Preprocessing) -> list[Tensor]:
    """All images, framed, or with their shorter side at a size where it is longer."""

    def read(index: int) -> Tensor:
        image: Image.Image = samples.read(index)
        if isinstance(size, Preprocessing):
            image = size.frame()(image)
        elif size < min(image.size):
            image = ImageOps.scale(image, size / min(image.size), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    images, count, taken, free = list[Tensor](), len(samples), 0, free_memory_bytes()
    for image in in_threads(read, range(count), "decoding images"):
        images.append(image)
        taken += image.numel()
        needed = taken / len(images) * count
        if needed > free and len(images) >= min(50, count):
            raise ConfigError(
                f"data.cache=ram: {count} decoded images take about {needed / 1e6:.1f} MB, and "
                f"{free / 1e6:.1f} MB are free. Take data.cache=none, or a smaller data.cache_size."
            )
    return images
