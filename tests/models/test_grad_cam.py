"""Grad-CAM: on a network whose answer is known, and the layer that it takes in every backbone."""

import pytest
import torch
from torch import nn

from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.models import ImageClassifier
from hymenoptera.models.grad_cam import GradCam, as_maps


class TwoChannels(nn.Module):
    """Where the image is red, and where it is blue; then the mean of each over all places."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)  # 32 px to 8 x 8 places
        self.pick = nn.Conv2d(3, 2, 1, bias=False)
        self.pick.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).view(2, 3, 1, 1)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.mean(self.pick(self.pool(images))).flatten(1)


@pytest.fixture
def known() -> ImageClassifier:
    """Says "red" for red, and "blue" for blue and against red."""
    shown = Preprocessing(32, 32, (0, 0, 0), (1, 1, 1), "bilinear").to_dict()
    classifier = ImageClassifier(["red", "blue"], preprocessing=shown, weights_id="none")
    classifier.backbone, classifier.head = TwoChannels(), nn.Linear(2, 2)
    classifier.head.weight.data = torch.tensor([[1.0, 0.0], [-0.5, 1.0]])
    classifier.head.bias.data.zero_()
    return classifier.eval()


def test_heat_before_it_is_scaled_is_the_paper_s_formula(known: ImageClassifier) -> None:
    """For "blue": relu(-0.5 A_red + 1 A_blue) / 64, up to the scale."""
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = nn.functional.avg_pool2d(image, 4)[:, [0, 2]]
    expected = (maps[:, 1] - 0.5 * maps[:, 0]).relu()
    expected = nn.functional.interpolate(expected[:, None], (32, 32), mode="bilinear")[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    cam = GradCam(known)
    assert cam.layer_name == "backbone.pick"
    torch.testing.assert_close(cam(image, torch.tensor([1, 1, 1])), expected)
    torch.testing.assert_close(cam(image), cam(image, known(image).argmax(dim=1)))


def test_nothing_speaks_for_the_class(known: ImageClassifier) -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0] = 1
    assert GradCam(known)(image, torch.tensor([1])).abs().max() == 0


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "backbone.layer4"),
        ("efficientnet_b0", "backbone.features"),
        ("vit_b_16", "backbone.encoder.layers.encoder_layer_11.ln_1"),
    ],
)
def test_the_last_layer_with_places_of_a_backbone(name: str, layer: str) -> None:
    """Heat over the whole image; no weight is touched."""
    torch.manual_seed(0)
    size_px = None if name.startswith("vit") else 96
    classifier = ImageClassifier(["a", "b", "c"], name, "none", size_px).eval()
    nn.init.normal_(classifier.head.weight)
    cam = GradCam(classifier)
    assert cam.layer_name == layer
    size_px = classifier.preprocessing.crop_px
    heat = cam(torch.randn(1, 3, size_px, size_px))
    assert heat.shape == (1, size_px, size_px)
    assert heat.min() >= 0 and heat.max() == 1
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert torch.is_grad_enabled()


def test_tokens_are_folded_as_the_image_is() -> None:
    """Row by row, behind the class token."""
    maps = torch.arange(2 * 5 * 9).view(2, 5, 3, 3)
    tokens = torch.cat([torch.zeros(2, 1, 5), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(as_maps(tokens), maps)
