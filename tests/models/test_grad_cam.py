"""Grad-CAM: on a network whose answer is known, and the layer that it takes in every backbone."""

import pytest
import torch
from torch import nn

from hymenoptera.config.schema import BACKBONES
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.models import ImageClassifier
from hymenoptera.models.grad_cam import GradCam, as_maps, target_layer


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


def test_the_heat_is_where_the_known_network_looks(known: ImageClassifier) -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, :8, :8] = 1  # red: upper left
    image[0, 2, 16:24, 24:] = 0.5  # blue: right, below the middle
    cam = GradCam(known)
    assert cam.layer_name == "backbone.pick"
    red, blue = cam(image, torch.tensor([0]))[0], cam(image, torch.tensor([1]))[0]
    assert red[:6, :6].min() > 0.5 and red.max() == 1
    assert red[12:].abs().max() == 0 and red[:, 12:].abs().max() == 0
    assert blue[18:22, 26:].min() > 0.5 and blue.max() == 1
    assert blue[:12].abs().max() == 0 and blue[:, :20].abs().max() == 0  # against is no heat
    predicted = cam(image)[0]
    assert torch.equal(predicted, red)  # 4/64 red against 0.5 * 4/64 blue - 0.5 * 4/64 red


def test_heat_before_it_is_scaled_is_the_paper_s_formula(known: ImageClassifier) -> None:
    """For "blue": relu(-0.5 A_red + 1 A_blue) / 64, up to the scale."""
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = nn.functional.avg_pool2d(image, 4)[:, [0, 2]]
    expected = (maps[:, 1] - 0.5 * maps[:, 0]).relu()
    expected = nn.functional.interpolate(expected[:, None], (32, 32), mode="bilinear")[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    found = GradCam(known)(image, torch.tensor([1, 1, 1]))
    torch.testing.assert_close(found, expected)


def test_nothing_speaks_for_the_class(known: ImageClassifier) -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0] = 1
    assert GradCam(known)(image, torch.tensor([1])).abs().max() == 0


LAYERS = {
    "resnet18": "backbone.layer4",
    "resnet34": "backbone.layer4",
    "resnet50": "backbone.layer4",
    "mobilenet_v3_small": "backbone.features",
    "efficientnet_b0": "backbone.features",
    "convnext_tiny": "backbone.features",
    "vit_b_16": "backbone.encoder.layers.encoder_layer_11.ln_1",
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_that_is_offered(name: str) -> None:
    """Its last layer with places; heat over the whole image; no weight is touched."""
    torch.manual_seed(0)
    size_px = None if name.startswith("vit") else 96
    classifier = ImageClassifier(["a", "b", "c"], name, "none", size_px).eval()
    if name.startswith("vit"):
        nn.init.normal_(classifier.head.weight)
    assert target_layer(classifier) == LAYERS[name]
    size_px = classifier.preprocessing.crop_px
    images = torch.randn(1, 3, size_px, size_px).repeat(2, 1, 1, 1)
    images[1, :, :32, -32:] += 3 * torch.randn(3, 32, 32)
    cam = GradCam(classifier)
    given: list[torch.Tensor] = []
    hook = classifier.get_submodule(cam.layer_name).register_forward_hook(
        lambda module, inputs, output: given.append(as_maps(output.detach()))
    )
    heats = [
        cam(images, torch.tensor([label, label])) for label in range(1 if size_px == 224 else 3)
    ]
    hook.remove()
    assert all(heat.shape == (2, size_px, size_px) for heat in heats)
    assert all(heat.min() >= 0 and heat.max() <= 1 for heat in heats)
    assert any(heat.amax(dim=(1, 2)).eq(1).any() for heat in heats)
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert torch.is_grad_enabled()
    if name.startswith("vit"):  # its maps are folded from tokens
        assert greatest_change(given[0]) == ("above", "right")


def greatest_change(maps: torch.Tensor) -> tuple[str, str]:
    """Where two images' maps (2, K, h, w) differ most."""
    change = (maps[1] - maps[0]).abs().sum(dim=0)  # (h, w)
    row, column = divmod(int(change.argmax()), change.shape[1])
    third = change.shape[0] / 3
    return (
        "above" if row < third else "below",
        "right" if column >= change.shape[1] - third else "left",
    )
