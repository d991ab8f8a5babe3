"""One small network of each family, of random weights, through all that is done with a backbone."""

import families
import pytest

from hymenoptera.errors import ConfigError
from hymenoptera.models.backbones import build_backbone
from hymenoptera.models.stages import find_stages

QUICK = ("stages", "frozen to the bit", "folded, cached", "rebuilt", "Grad-CAM layer")
EVERY_CHANGE = (  # the others take seconds each
    *("resnet18", "efficientnet_b0", "mobilenet_v3_small", "regnet_y_400mf"),
    *("densenet121", "shufflenet_v2_x0_5", "mnasnet0_5", "swin_t"),
    *("timm/convnextv2_atto", "timm/vit_tiny_patch16_224", "timm/mobilenetv4_conv_small"),
    *("timm/vit_small_patch14_reg4_dinov2", "timm/eva02_tiny_patch14_224"),
)
ALL = families.FAMILIES | families.MORE
CANNOT = {  # a head of several layers or without a bias; a version that the file does not hold
    ("safetensors", "maxvit_t"): "takes other weights",
    ("safetensors", "mnasnet0_5"): "takes other weights",
    ("safetensors", "timm/caformer_s18"): "takes other weights",
    ("safetensors", "timm/levit_128s"): "no single linear head",
    ("safetensors", "timm/efficientformer_l1"): "no single linear head",
    ("onnx", "timm/hiera_tiny_224"): "only 4D query",
}
SLOW = [name for name in ALL if name not in EVERY_CHANGE]


@pytest.mark.parametrize("name", EVERY_CHANGE)
def test_family(name: str) -> None:
    for check in QUICK:
        families.CHECKS[check](name, ALL[name])


@pytest.mark.torture
@pytest.mark.parametrize("name", SLOW)
def test_slow_family(name: str) -> None:
    test_family(name)


@pytest.mark.torture
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors"])
def test_export_of_a_family(name: str, form: str) -> None:
    if reason := CANNOT.get((form, name)):
        with pytest.raises(ConfigError, match=f"cannot hold this network.*{reason}") as raised:
            families.CHECKS[form](name, ALL[name])
        assert len(str(raised.value).splitlines()) == 1
    else:
        families.CHECKS[form](name, ALL[name])


def test_a_format_that_cannot_hold_a_network_says_why() -> None:
    test_export_of_a_family("mnasnet0_5", "safetensors")


def test_stages_are_where_they_were() -> None:
    """The groups of parameters of a schedule, and with them the numbers of a run, stay the same."""
    counts = {"resnet18": [15, 15, 15, 15], "vit_b_16": [4, *[12] * 11, 14]}
    for name, expected in counts.items():
        built = build_backbone(name, None)
        stages = find_stages(built.network, built.preprocessing.crop_px)
        assert [len(stage.parameters) for stage in stages] == expected
