"""One small network of each family, of random weights, through all that is done with a backbone."""

import families
import pytest

from hymenoptera.errors import HymenopteraError
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
# a head of several layers or without a bias; a version that the file does not hold
NOT_AS_SAFETENSORS = (*("maxvit_t", "mnasnet0_5", "timm/levit_128s", "timm/efficientformer_l1"),)
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
@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("form", ["pt2", "safetensors"])
def test_export_of_a_family(name: str, form: str) -> None:
    if form == "safetensors" and name in NOT_AS_SAFETENSORS:
        with pytest.raises(HymenopteraError):
            families.CHECKS[form](name, ALL[name])
    else:
        families.CHECKS[form](name, ALL[name])


def test_stages_are_where_they_were() -> None:
    """The groups of parameters of a schedule, and with them the numbers of a run, stay the same."""
    counts = {"resnet18": [15, 15, 15, 15], "vit_b_16": [4, *[12] * 11, 14]}
    for name, expected in counts.items():
        built = build_backbone(name, None)
        stages = find_stages(built.network, built.preprocessing.crop_px)
        assert [len(stage.parameters) for stage in stages] == expected
