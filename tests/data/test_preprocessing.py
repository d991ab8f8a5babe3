"""From an image to a tensor and back."""

import numpy as np
import pytest
import torch
from PIL import Image

from hymenoptera.data.preprocessing import IMAGENET, Preprocessing, as_images

SMALL = Preprocessing(40, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def test_denormalising_undoes_the_normalisation() -> None:
    tensor = SMALL.eval_transform()(Image.new("RGB", (50, 60), (255, 128, 0)))
    assert (tensor.shape, tensor.dtype) == ((3, 32, 32), torch.float32)
    back = SMALL.denormalise(tensor[None])
    expected = torch.tensor([1.0, 128 / 255, 0.0]).view(3, 1, 1).expand(3, 32, 32)
    assert torch.allclose(back[0], expected, atol=1e-6)
    assert as_images(back)[0].getpixel((3, 3)) == (255, 128, 0)


def test_training_crops_and_flips_what_validation_leaves() -> None:
    image = Image.linear_gradient("L").convert("RGB").rotate(90)
    plain = SMALL.train_transform((1.0, 1.0), 0.0)(image)
    flipped = SMALL.train_transform((1.0, 1.0), 1.0)(image)
    assert plain.shape == (3, 32, 32)
    assert torch.allclose(flipped, plain.flip(-1), atol=0.05)
    assert not torch.allclose(flipped, plain, atol=0.05)
    cropped = SMALL.train_transform((0.1, 0.1), 0.0)(image)
    assert cropped.max() - cropped.min() < 0.6 * (plain.max() - plain.min())


def test_tensors_are_normalised_as_images_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole = SMALL.to_tensor()(Image.fromarray(pixels))
    assert torch.equal(SMALL.normalise(torch.from_numpy(pixels).permute(2, 0, 1)), whole)
    assert torch.equal(
        SMALL.to_tensor()(SMALL.frame()(Image.fromarray(pixels))),
        SMALL.eval_transform()(Image.fromarray(pixels)),
    )


@pytest.mark.parametrize("size", [(2, 2000), (2000, 2), (1, 1)])
def test_images_of_any_shape_are_taken(size: tuple[int, int]) -> None:
    """Fault 28: 2 x 2000 px are too."""
    image = Image.new("RGB", size, (1, 2, 3))
    for transform in (SMALL.eval_transform(), SMALL.train_transform()):
        assert transform(image).shape == (3, 32, 32)


def test_plain_values_give_it_back_and_another_size_keeps_the_margin() -> None:
    values = SMALL.to_dict()
    assert isinstance(values["mean"], list)
    assert Preprocessing.from_dict(values) == SMALL
    assert (IMAGENET.resized(112).resize_px, IMAGENET.resized(112).crop_px) == (128, 112)
