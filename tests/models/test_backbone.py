"""Every backbone through the one mechanism; weights files that fit, nearly fit and do not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from hymenoptera.errors import RequestError
from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.classifier import Classifier
from hymenoptera.rules import BACKBONES

FEATURES = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "mobilenet_v3_small": 1024,
    "efficientnet_b0": 1280,
    "convnext_tiny": 768,
    "vit_b_16": 768,
}


@pytest.mark.parametrize("name", BACKBONES)
def test_a_classifier_computes_what_torchvision_does(name: str) -> None:
    """Backbone and head with a network's weights give that network's logits."""
    torch.manual_seed(0)
    size_px = 224 if name == "vit_b_16" else 64
    network = get_model(name, num_classes=5).eval()
    backbone = build_backbone(name, "none", None if name == "vit_b_16" else size_px)
    classifier = Classifier(backbone, list("abcde")).eval()
    assert backbone.feature_count == FEATURES[name]
    state = network.state_dict()
    head = [key.removesuffix(".weight") for key in state if key.endswith(".weight")][-1]
    for key in ("weight", "bias"):
        getattr(classifier.head, key).data.copy_(state.pop(f"{head}.{key}"))
    classifier.backbone.load_state_dict(state)
    images = torch.randn(2, 3, size_px, size_px)
    with torch.inference_mode():
        assert torch.equal(classifier(images), network(images))


@pytest.mark.parametrize("name", BACKBONES)
def test_preprocessing_is_that_of_the_weights(name: str) -> None:
    """The transform does to a picture what the weights' own one does."""
    from PIL import Image

    pixels = torch.randint(256, (300, 280, 3), generator=torch.manual_seed(0), dtype=torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    ours = build_backbone(name).preprocessing.transform()(picture)
    theirs = get_model_weights(name).DEFAULT.transforms()(picture)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_another_input_size_keeps_the_margin() -> None:
    preprocessing = build_backbone("resnet18", "none", 64).preprocessing
    assert (preprocessing.crop_px, preprocessing.resize_px) == (64, 73)


def test_a_vision_transformer_refuses_another_input_size() -> None:
    with pytest.raises(RequestError, match="224 px pictures only"):
        build_backbone("vit_b_16", "none", 96)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights_is_loaded(tmp_path: Path, suffix: str) -> None:
    """A head of another size gives way; one of the same size is taken over."""
    state = get_model("resnet18", num_classes=4).state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    backbone = build_backbone("resnet18", str(path))
    assert torch.equal(
        backbone.features.state_dict()["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"]
    )
    assert backbone.weights_id.startswith(f"weights{suffix} sha256:")
    other = Classifier(backbone, list("ab"))
    assert other.head_is_new
    assert other.head.weight.shape == (2, 512)
    same = Classifier(backbone, list("abcd"))
    assert not same.head_is_new
    assert torch.equal(same.head.weight, state["fc.weight"])


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    state = get_model("resnet18").state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "grey.pth")
    with pytest.raises(RequestError, match=r"another shape \(conv1.weight\)"):
        build_backbone("resnet18", str(tmp_path / "grey.pth"))
