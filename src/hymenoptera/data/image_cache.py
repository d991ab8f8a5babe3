"""Decoded images, kept in memory or mapped from disk; random crops of them on the device."""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from hymenoptera.data.dataset import ImageDataset
from hymenoptera.data.manifest import in_threads
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import Samples
from hymenoptera.errors import ConfigError
from hymenoptera.files import lock, new_file

SIZE = 12 / 7  # of the network's input: 384 px for 224

Images = list[Any]  # tensors (3, H, W) uint8, in one buffer, which forked workers only read


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


@dataclass(frozen=True)
class ImageCache:
    """Decoded images of an `ImageDataModule`: framed, or whole where they are to be augmented."""

    module: Any
    preprocessing: Preprocessing
    kind: str
    size_px: int | None
    on_device: bool
    train: Images
    val: Images

    @classmethod
    def build(
        cls, module: Any, preprocessing: Preprocessing, device: torch.device
    ) -> "ImageCache | None":
        """The cache that the options of a data module ask for; None for none.

        Raises:
            ConfigError: the options are invalid, or there is no room for the images.
        """
        kind, side_px, augment_on = module.cache, preprocessing.crop_px, module.augment_on
        size_px = round(SIZE * side_px) if module.cache_size == "auto" else module.cache_size
        if kind == "auto":  # a CPU's network is slower than the decoding; a GPU waits for it
            needed = 4 * size_px**2 * (len(module.train) + len(module.val))  # bytes, of 4:3 images
            fits = device.type != "cpu" and needed < free_memory_bytes() / 2
            kind = "ram" if fits or augment_on == "device" else "none"
        if kind == "none" and augment_on == "device":
            raise ConfigError("data.augment_on=device needs data.cache=ram or data.cache=disk.")
        if kind == "none":
            return None
        if module.views != 0 and size_px < side_px:
            raise ConfigError(
                f"data.cache_size={size_px} is less than the {side_px} px that the network sees: "
                f"every crop would be enlarged. Take {round(SIZE * side_px)}, or auto."
            )
        on_device = augment_on == "device" or (augment_on == "auto" and device.type == "cuda")
        folder = module.cache_folder if kind == "disk" else None
        size = None if module.views == 0 else size_px
        train = _decoded(module.train, size or preprocessing, folder)
        val = _decoded(module.val, preprocessing, folder)
        return cls(module, preprocessing, kind, size, on_device, train, val)

    def train_dataset(self) -> ImageDataset:
        """The training images, by `SampleKey`."""
        crop = self.preprocessing.random_crop(self.module.crop_scale)
        flip, read = v2.RandomHorizontalFlip(self.module.flip_probability), self.train.__getitem__
        if self.size_px is None:
            return ImageDataset(self.module.train, self._to_input(), read)
        if self.on_device:
            transform = v2.Compose([RandomCrop(crop.size, crop.scale), flip])
            return CropDataset(self.module.train, transform, read)
        transform = v2.Compose([v2.ToPILImage(), crop, flip, self.preprocessing.to_tensor()])
        return ImageDataset(self.module.train, transform, read)

    def val_dataset(self) -> ImageDataset:
        """The validation images, by `SampleKey`: to the bit what decoding each time would give."""
        return ImageDataset(self.module.val, self._to_input(), self.val.__getitem__)

    def finish(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) float32, normalised on their device, and labels (B,) int64."""
        images, labels = (self._resized(batch), batch.labels) if isinstance(batch, Crops) else batch
        is_raw = images.dtype == torch.uint8
        return self.preprocessing.normalise(images) if is_raw else images, labels

    def summary(self) -> dict[str, Any]:
        """What a run's record says of the cache."""
        return {
            "cache": self.kind,
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


def free_memory_bytes() -> int:
    """What may still be taken of the machine's memory, or of its container's limit."""
    free = [1 << 62]
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text()
        free += [1024 * int(found) for found in re.findall(r"MemAvailable: *(\d+)", text)]
        limit, used = (Path(f"/sys/fs/cgroup/memory.{n}").read_text() for n in ("max", "current"))
        free.append(int(limit) - int(used))  # "max" is no number: there is no limit
    return min(free)


def _decoded(samples: Samples, size: int | Preprocessing, folder: Path | None) -> Images:
    """Decode into memory, or into a file of the folder, where another run may have done it."""
    if folder is None:
        memory = BytesIO()
        _decode(samples, size, memory, free_memory_bytes())
        buffer = torch.frombuffer(memory.getbuffer(), dtype=torch.uint8)
    else:
        contents = [(samples.name(i), samples.entry(i).sha256) for i in range(len(samples))]
        key = hashlib.sha256(repr((version("pillow"), size, contents)).encode()).hexdigest()
        path = folder / f"{key[:24]}.pixels"
        try:
            with lock(path):
                if not path.is_file():
                    with new_file(path) as file:
                        _decode(samples, size, file)
        except OSError as error:
            raise ConfigError(f"data.cache_folder={folder}: {error.strerror or error}.") from error
        buffer = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
    at = len(buffer) - 8 * len(samples)
    sizes = np.frombuffer(buffer[at:].numpy().tobytes(), np.int32).reshape(-1, 2).tolist()
    parts = torch.split(buffer[:at], [3 * height * width for height, width in sizes])
    return [p.view(*size, 3).permute(2, 0, 1) for p, size in zip(parts, sizes, strict=True)]


def _decode(samples: Samples, size: Any, file: BinaryIO, free_bytes: float = np.inf) -> None:
    """Write the pixels of all images, framed or their shorter side at a size, then their sizes."""

    def read(index: int) -> NDArray[np.uint8]:
        image = samples.read(index)
        if isinstance(size, Preprocessing):
            return np.asarray(size.frame()(image))
        share = min(1, size / min(image.size))
        return np.asarray(ImageOps.scale(image, share, Image.Resampling.LANCZOS))

    sizes, count = list[tuple[int, ...]](), len(samples)
    for pixels in in_threads(read, range(count), "decoding images"):
        file.write(pixels.tobytes())
        sizes.append(pixels.shape[:2])
        needed = file.tell() / len(sizes) * count
        if needed > free_bytes and len(sizes) >= min(50, count):
            raise ConfigError(
                f"data.cache=ram: {count} decoded images take about {needed / 1e6:.1f} MB, and "
                f"{free_bytes / 1e6:.1f} MB are free. Take cache=disk, or a smaller cache_size."
            )
    file.write(np.array(sizes, np.int32).tobytes())
