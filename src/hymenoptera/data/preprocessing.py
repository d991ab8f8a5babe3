"""What a network expects of an image: the one description that training and inference share."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

MAX_ASPECT = 20
"""Of an image's sides. Resizing a line of 1 x 5000 px would make 232 x 1 160 000 of it."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a tensor, as the weights expect it.

    Attributes:
        resize_px: length of the shorter side before the crop, in pixels.
        crop_px: side of the square that the network sees, in pixels.
        mean: of each channel, on the scale 0 to 1.
        std: of each channel, on the scale 0 to 1.
        interpolation: name of a `torchvision.transforms.InterpolationMode`, such as "bilinear".
    """

    resize_px: int
    crop_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def resized(self, crop_px: int) -> "Preprocessing":
        """The same for another input size; the margin around the crop keeps its proportion."""
        resize_px = round(crop_px * self.resize_px / self.crop_px)
        return replace(self, resize_px=resize_px, crop_px=crop_px)

    def eval_transform(self) -> v2.Compose:
        """Resize, centre crop, scale, normalise: PIL RGB to (3, crop_px, crop_px) float32."""
        return v2.Compose([self.frame(), self.to_tensor()])

    def train_transform(
        self, crop_scale: tuple[float, float] = (0.08, 1.0), flip_probability: float = 0.5
    ) -> v2.Compose:
        """RandomResizedCrop, flip, scale, normalise; torch's global generator makes it random."""
        flip = v2.RandomHorizontalFlip(flip_probability)
        return v2.Compose([self.random_crop(crop_scale), flip, self.to_tensor()])

    def random_crop(self, crop_scale: tuple[float, float] = (0.08, 1.0)) -> v2.RandomResizedCrop:
        """The RandomResizedCrop of `train_transform`."""
        mode = InterpolationMode(self.interpolation)
        return v2.RandomResizedCrop(self.crop_px, scale=crop_scale, interpolation=mode)

    def frame(self) -> v2.Compose:
        """The first half of `eval_transform`: PIL RGB to a square one of crop_px."""
        resize = v2.Resize(self.resize_px, InterpolationMode(self.interpolation))
        return v2.Compose([within_aspect, resize, v2.CenterCrop(self.crop_px)])

    def to_tensor(self) -> v2.Compose:
        """The second half of `eval_transform`: PIL RGB to (3, H, W) float32."""
        return v2.Compose([v2.PILToTensor(), self.normalise])

    def normalise(self, pixels: Tensor) -> Tensor:
        """(..., 3, H, W) uint8 on any device, as the network expects it: the same in float32."""
        scaled = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        normalised: Tensor = v2.functional.normalize(scaled, list(self.mean), list(self.std))
        return normalised

    def denormalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float32, normalised, to look at: on the scale 0 to 1, clamped."""
        mean = images.new_tensor(self.mean).view(-1, 1, 1)
        std = images.new_tensor(self.std).view(-1, 1, 1)
        return (images * std + mean).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, as a checkpoint holds them."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """The object that `to_dict` was called on."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


IMAGENET = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What torchvision's ResNets expect; used where a model does not say what it expects."""


def as_images(images: Tensor) -> list[Image.Image]:
    """(N, 3, H, W) float32 on the scale 0 to 1 as PIL images."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    return [Image.fromarray(image) for image in pixels]


def within_aspect(image: Image.Image) -> Image.Image:
    """Cut an image that is longer than MAX_ASPECT times its width to its middle."""
    width, height = image.size
    longest = MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))
