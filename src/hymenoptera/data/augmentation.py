"""Random crops and flips of a whole batch on the device, picture by picture those of the CPU.

What is drawn for a picture (crop, flip) is drawn by the same code from the same seed as on the
CPU. What a crop turns into is computed as Pillow does it, with its antialiasing: each output
pixel is a weighted mean of input pixels, separately along height and width. For a batch of crops
that is two matrix products.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from hymenoptera.data.decoded import Decoded
from hymenoptera.data.folders import Sample
from hymenoptera.data.order import Draw

STEP_PX = 32  # the room for a batch's crops is a multiple of it: few shapes, reused memory
FIELDS = 7  # of a row of Crops.table: start, width, top, left, height, width of the crop, flip


class Crops(NamedTuple):
    """A batch of crops that are still to be made.

    Attributes:
        table: (B, FIELDS) int64: where in the buffer the picture starts and how wide it is; the
            crop's top, left, height and width in pixels; 1 for a flip.
        labels: (B,) int64.
        room: height and width that hold each crop.
        pixels: (B, *room, 3) uint8, each crop in its upper left corner; or (0,), where the
            device has the buffer.
    """

    table: Tensor
    labels: Tensor
    room: tuple[int, int]
    pixels: Tensor


class CropDataset(Dataset[tuple[Tensor, int]]):
    """What is to be cropped from decoded pictures; `collate` makes a batch of it.

    Args:
        decoded: the samples' pictures.
        samples: for their labels.
        crop: that `Preprocessing.train_transform` has.
        flip_probability: likewise.
        travels: whether batches carry the pixels: the device has no room for the buffer.
    """

    def __init__(
        self,
        decoded: Decoded,
        samples: Sequence[Sample],
        crop: v2.RandomResizedCrop,
        flip_probability: float,
        *,
        travels: bool,
    ) -> None:
        self.decoded = decoded
        self.samples = samples
        self.crop = crop
        self.flip_probability = flip_probability
        self.travels = travels

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        height, width = (int(length) for length in self.decoded.sizes[draw.sample])
        blank = torch.empty(()).expand(3, height, width)  # of that size, without the memory
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.seed)
            crop = self.crop.make_params([blank])
            flip = float(torch.rand(1)) < self.flip_probability  # as v2.RandomHorizontalFlip
        start = int(self.decoded.starts[draw.sample])
        place = [crop[name] for name in ("top", "left", "height", "width")]
        return torch.tensor([start, width, *place, int(flip)]), self.samples[draw.sample].label

    def collate(self, drawn: list[tuple[Tensor, int]]) -> Crops:
        """A batch; of none, one without crops."""
        table = torch.stack([row for row, _ in drawn]) if drawn else torch.empty(0, FIELDS).long()
        height, width = (
            -(-int(table[:, field].max()) // STEP_PX) * STEP_PX if drawn else STEP_PX
            for field in (4, 5)
        )
        pixels = torch.empty(0, dtype=torch.uint8)
        if self.travels:
            pixels = gather(self.decoded.pixels, table, (height, width))
        return Crops(table, torch.tensor([label for _, label in drawn]), (height, width), pixels)


def gather(pixels: Tensor, table: Tensor, room: tuple[int, int]) -> Tensor:
    """Each crop in its own room; beyond its edges, its last row and column again.

    Args:
        pixels: (P, 3) uint8, of `Decoded`.
        table: (B, FIELDS) int64, of `Crops`, on the same device.
        room: height and width that hold each crop.

    Returns:
        (B, *room, 3) uint8.
    """
    start, stride, top, left, height, width, _ = table.unbind(dim=1)  # (B,) each
    y = torch.arange(room[0], device=table.device).minimum(height[:, None] - 1)  # (B, H)
    x = torch.arange(room[1], device=table.device).minimum(width[:, None] - 1)  # (B, W)
    rows = start[:, None] + (top[:, None] + y) * stride[:, None]
    places = rows[:, :, None] + (left[:, None] + x)[:, None, :]  # (B, H, W)
    return pixels.index_select(0, places.view(-1)).view(len(table), *room, 3)


def resize_crops(crops: Tensor, table: Tensor, side_px: int, interpolation: str) -> Tensor:
    """Resize and flip each crop as Pillow does.

    Args:
        crops: (B, H, W, 3) uint8, of `gather`.
        table: (B, FIELDS) int64, of `Crops`, on the same device.
        side_px: of the result.
        interpolation: "bilinear" or "bicubic".

    Returns:
        (B, 3, side_px, side_px) uint8.
    """
    _, _, _, _, height, width, flip = table.unbind(dim=1)
    down = weights(height, crops.shape[1], side_px, interpolation)  # (B, side, H)
    across = weights(width, crops.shape[2], side_px, interpolation)  # (B, side, W)
    across = torch.where(flip[:, None, None] == 1, across.flip(1), across)
    planes = crops.permute(0, 3, 1, 2).to(torch.float32)  # (B, 3, H, W)
    resized = _levels(planes @ across.mT[:, None])  # (B, 3, H, side)
    return _levels(down[:, None] @ resized).to(torch.uint8)


def weights(lengths: Tensor, room: int, side_px: int, interpolation: str) -> Tensor:
    """How much each input pixel counts for each output pixel, along one side.

    Source: Pillow's src/libImaging/Resample.c (precompute_coeffs): a triangle or a cubic with
    a = -0.5 around the output pixel's centre, widened by the scale where that makes it smaller.

    Args:
        lengths: (B,) of the input; what comes after it up to `room` counts nothing.
        room: length of the rows that hold it.
        side_px: length of the output.
        interpolation: "bilinear" or "bicubic".

    Returns:
        (B, side_px, room) float32; each row sums to 1.
    """
    scale = (lengths / side_px)[:, None, None]  # (B, 1, 1) float32
    inputs = torch.arange(room, device=lengths.device) + 0.5  # their centres
    outputs = (torch.arange(side_px, device=lengths.device) + 0.5)[:, None] * scale
    distance = (inputs - outputs).abs() / scale.clamp(min=1)  # (B, side, room)
    counts = FILTERS[interpolation](distance)
    counts = torch.where(inputs < lengths[:, None, None], counts, 0.0)
    return counts / counts.sum(dim=2, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}


def _levels(values: Tensor) -> Tensor:
    """Whole numbers from 0 to 255, to which Pillow rounds after each pass."""
    return values.add_(0.5).floor_().clamp_(0, 255)
