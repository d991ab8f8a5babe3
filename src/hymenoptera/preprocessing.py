"""What a network expects of a picture: the one description that training and inference share."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

MAX_ASPECT = 20
"""Of a picture's sides. Resizing a line of 1 x 5000 px would make 232 x 1 160 000 of it."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a tensor, as the weights expect it.

    Attributes:
        resize_px: length of the shorter side before the crop, in pixels.
        crop_px: side of the square that the network sees, in pixels.
        mean: of each channel, on the scale 0 to 1.
        std: of each channel, on the scale 0 to 1.
        interpolation: name of a `torchvision.transforms.InterpolationMode`, "bilinear" for one.
    """

    resize_px: int
    crop_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def resized(self, crop_px: int) -> "Preprocessing":
        """The same for another input size, with the margin around the crop kept in proportion."""
        resize_px = round(crop_px * self.resize_px / self.crop_px)
        return replace(self, resize_px=resize_px, crop_px=crop_px)

    def transform(self) -> v2.Compose:
        """Resize, centre crop, scale, normalise: what validation and inference use.

        Returns:
            A transform from an RGB picture (PIL) to (3, crop_px, crop_px) float32.
        """
        return v2.Compose([*self._frame(), *self._to_tensor()])

    def frame(self) -> v2.Compose:
        """As `transform` until the tensor.

        Returns:
            A transform from an RGB picture (PIL) to one of crop_px by crop_px.
        """
        return v2.Compose(self._frame())

    def to_tensor(self) -> v2.Compose:
        """As `transform` from there on: scale, normalise.

        Returns:
            A transform from an RGB picture (PIL) of H by W to (3, H, W) float32.
        """
        return v2.Compose(self._to_tensor())

    def train_transform(
        self, crop_scale: tuple[float, float], flip_probability: float
    ) -> v2.Compose:
        """RandomResizedCrop and a horizontal flip, then the same scaling as validation.

        Args:
            crop_scale: smallest and largest share of the picture's area that is kept.
            flip_probability: how often a picture is mirrored.

        Returns:
            A transform from an RGB picture (PIL) to (3, crop_px, crop_px) float32. It draws from
            torch's global generator.
        """
        flip = v2.RandomHorizontalFlip(flip_probability)
        return v2.Compose([self.random_crop(crop_scale), flip, *self._to_tensor()])

    def random_crop(self, crop_scale: tuple[float, float]) -> v2.RandomResizedCrop:
        """The RandomResizedCrop of `train_transform`."""
        mode = InterpolationMode(self.interpolation)
        return v2.RandomResizedCrop(self.crop_px, scale=crop_scale, interpolation=mode)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Scale and normalise what is in a tensor already, wherever that is.

        Args:
            pixels: (..., 3, H, W) uint8.

        Returns:
            (..., 3, H, W) float32, on a CPU to the bit what `to_tensor` makes of such pictures.
        """
        scaled = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        normalised: Tensor = v2.functional.normalize(scaled, list(self.mean), list(self.std))
        return normalised

    def denormalise(self, images: Tensor) -> Tensor:
        """Undo the normalisation, to look at what the network is shown.

        Args:
            images: (B, 3, H, W) float32, normalised.

        Returns:
            (B, 3, H, W) float32 on the scale 0 to 1, clamped.
        """
        mean = images.new_tensor(self.mean).view(-1, 1, 1)
        std = images.new_tensor(self.std).view(-1, 1, 1)
        return (images * std + mean).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as a checkpoint holds them."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "Preprocessing":
        """What `to_dict` gave, as an object again."""
        return cls(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})

    def _frame(self) -> list[Any]:
        resize = v2.Resize(self.resize_px, InterpolationMode(self.interpolation))
        return [within_aspect, resize, v2.CenterCrop(self.crop_px)]

    def _to_tensor(self) -> list[Any]:
        return [
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(self.mean), list(self.std)),
        ]


def as_pictures(images: Tensor) -> list[Image.Image]:
    """Images as PIL pictures.

    Args:
        images: (N, 3, H, W) float32 on the scale 0 to 1.
    """
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    return [Image.fromarray(picture) for picture in pixels]


def within_aspect(picture: Image.Image) -> Image.Image:
    """Cut a picture that is longer than MAX_ASPECT times its width to its middle."""
    width, height = picture.size
    longest = MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return picture
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return picture.crop((left, top, left + min(width, longest), top + min(height, longest)))
