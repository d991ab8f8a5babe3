"""From a picture to a tensor and back."""

import torch
from PIL import Image

from hymenoptera.preprocessing import Preprocessing

FACTS = Preprocessing(40, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def test_denormalising_undoes_the_normalisation() -> None:
    picture = Image.new("RGB", (50, 60), (255, 128, 0))
    image = FACTS.transform()(picture)
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    back = FACTS.denormalise(image[None])[0]
    expected = torch.tensor([1.0, 128 / 255, 0.0]).view(3, 1, 1).expand(3, 32, 32)
    assert torch.allclose(back, expected, atol=1e-6)


def test_training_crops_and_flips_what_validation_leaves() -> None:
    picture = Image.linear_gradient("L").convert("RGB").rotate(90)
    plain = FACTS.train_transform((1.0, 1.0), 0.0)(picture)
    flipped = FACTS.train_transform((1.0, 1.0), 1.0)(picture)
    assert plain.shape == (3, 32, 32)
    assert (plain[0, 0, 0] < plain[0, 0, -1]) == (flipped[0, 0, 0] > flipped[0, 0, -1])
    assert torch.allclose(flipped, plain.flip(-1), atol=0.05)
    cropped = FACTS.train_transform((0.1, 0.1), 0.0)(picture)
    span = (plain.max() - plain.min()).item()
    assert (cropped.max() - cropped.min()).item() < 0.6 * span


def test_plain_values_give_it_back() -> None:
    facts = FACTS.to_dict()
    assert isinstance(facts["mean"], list)
    assert Preprocessing.from_dict(facts) == FACTS
