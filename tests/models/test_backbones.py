"""Every backbone through the one mechanism; weights files that fit, nearly fit and do not."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from hymenoptera.errors import ConfigError
from hymenoptera.models import ImageClassifier, backbones
from hymenoptera.models.backbones import build_backbone
from hymenoptera.models.stages import find_stages

FEATURES = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "mobilenet_v3_small": 1024,
    "efficientnet_b0": 1280,
    "convnext_tiny": 768,
    "vit_b_16": 768,
}
STAGES = {"mobilenet_v3_small": 5, "efficientnet_b0": 5, "vit_b_16": 13}  # others: 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "vit_b_16"])
def test_a_classifier_computes_what_torchvision_does(name: str) -> None:
    """Backbone and head with a network's weights give that network's logits."""
    torch.manual_seed(0)
    size_px = 224 if name == "vit_b_16" else 64
    classifier = ImageClassifier("abcde", name, "none", size_px).eval()
    with torch.device("meta"):
        network = get_model(name, num_classes=5).eval()
    head = [key for key in network.state_dict() if key.endswith(".weight")][-1]
    state = {head.replace("weight", k): v for k, v in classifier.head.state_dict().items()}
    network.load_state_dict({**classifier.backbone.state_dict(), **state}, assign=True)
    images = torch.randn(1, 3, size_px, size_px)
    with torch.inference_mode():
        assert torch.equal(classifier(images), network(images))
        assert torch.equal(classifier(classifier.features(images)), classifier(images))


@pytest.mark.parametrize("name", FEATURES)
def test_every_backbone_that_has_an_option(name: str) -> None:
    """Every parameter and layer is in one stage; preprocessing is that of the weights."""
    built = build_backbone(name, None)
    assert built.feature_count == FEATURES[name]
    stages = find_stages(built.network, built.preprocessing.crop_px)
    assert len(stages) == STAGES.get(name, 4)
    parameters = [name for stage in stages for name in stage.parameters]
    assert parameters == [name for name, _ in built.network.named_parameters()]
    blocks = [built.network.get_submodule(name) for stage in stages for name in stage.modules]
    layers = [layer for block in blocks for layer in block.modules()]
    assert len(layers) == len(set(layers))
    assert {m for m in built.network.modules() if not list(m.children())} <= set(layers)
    pixels = torch.randint(256, (300, 280, 3), generator=torch.manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(pixels.numpy())
    theirs = get_model_weights(name).DEFAULT.transforms()(image)
    assert torch.allclose(built.preprocessing.eval_transform()(image), theirs, atol=1e-6)


def test_another_input_size_keeps_the_margin() -> None:
    preprocessing = build_backbone("resnet18", "none", 64).preprocessing
    assert (preprocessing.crop_px, preprocessing.resize_px) == (64, 73)


def test_what_cannot_be_built_is_one_line() -> None:
    with pytest.raises(ConfigError, match="224 px images only"):
        build_backbone("vit_b_16", "none", 96)
    with pytest.raises(ConfigError, match="Did you mean resnet18"):
        build_backbone("resnet81")
    with pytest.raises(ConfigError, match="no linear head"):
        build_backbone("squeezenet1_0")
    with pytest.raises(ConfigError, match=r"timm has none. Did you mean .*vit_tiny_patch16_224"):
        build_backbone("timm/vit_tiny_patch16_225")
    with pytest.raises(ConfigError, match=r"no such weights. Did you mean .*a1_in1k"):
        build_backbone("timm/resnet18.a1_in2k")


def test_preprocessing_of_timm_is_that_of_the_weights() -> None:
    """Of the tag that is named, at another input size with the same margin."""
    plain = build_backbone("timm/resnet18.fb_swsl_ig1b_ft_in1k", "none").preprocessing
    assert (plain.crop_px, plain.resize_px, plain.interpolation) == (224, 256, "bilinear")
    clip = build_backbone("timm/vit_tiny_patch16_224", "none", 64).preprocessing
    assert (clip.crop_px, clip.resize_px, clip.interpolation) == (64, 71, "bicubic")
    assert clip.mean == (0.5, 0.5, 0.5)


def test_timm_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="needs the extra timm"):
        build_backbone("timm/resnet18")


def test_weights_of_another_network_of_timm_are_named(tmp_path: Path) -> None:
    torch.save(get_model("resnet18").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="does not fit the model"):
        build_backbone("timm/resnet26", str(tmp_path / "weights.pth"))
    built = build_backbone("timm/resnet18", str(tmp_path / "weights.pth"))  # of the same names
    assert built.head_weights["weight"].shape == (1000, 512)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights_is_loaded(tmp_path: Path, suffix: str) -> None:
    """A head of another size gives way; one of the same size is taken over."""
    state = get_model("resnet18", num_classes=4).state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    other = ImageClassifier("ab", weights=str(path))
    assert torch.equal(
        other.backbone.state_dict()["layer4.0.conv1.weight"], state["layer4.0.conv1.weight"]
    )
    assert other.weights_id.startswith(f"weights{suffix} sha256:")
    assert other.head_is_new
    assert other.head.weight.shape == (2, 512)
    same = ImageClassifier("abcd", weights=str(path))
    assert not same.head_is_new
    assert torch.equal(same.head.weight, state["fc.weight"])


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ConfigError, match="no such file"):
        build_backbone("resnet18", str(path))
    state = get_model("resnet18").state_dict()
    for change, word in (
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, "does not fit the model: size.* conv1.weight"),
        ({"more": torch.zeros(1)}, 'does not fit the model: Unexpected key.* "more"'),
        ({"conv1.weight": 3}, "cannot be read as a state dict"),
    ):
        torch.save({**state, **change}, path)
        with pytest.raises(ConfigError, match=word):
            build_backbone("resnet18", str(path))


def test_weights_that_cannot_be_downloaded_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, path: str, prefix: str) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(backbones.torch.hub, "download_url_to_file", fail)
    with pytest.raises(ConfigError, match=r"unreachable(.|\n)*model.weights=FILE") as raised:
        build_backbone("resnet18", "imagenet")
    assert len(str(raised.value).splitlines()) <= 3
    assert not (tmp_path / "hub").exists()
