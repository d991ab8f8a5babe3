"""Stages partition a backbone, and a classifier can be cut between them."""

import pytest
import torch

from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.stages import cut, find_stages
from hymenoptera.rules import BACKBONES

STAGES = {"mobilenet_v3_small": 5, "efficientnet_b0": 5, "vit_b_16": 13}  # others: 4


def classifier(name: str) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build_backbone(name, "none"), ["ash", "birch", "cedar"]).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_and_layer_is_in_one_stage(name: str) -> None:
    backbone = classifier(name).backbone
    stages = find_stages(backbone)
    assert len(stages) == STAGES.get(name, 4)
    parameters = [p for stage in stages for p in stage.parameters]
    assert [id(p) for p in parameters] == [id(p) for p in backbone.parameters()]
    layers = [m for stage in stages for block in stage.modules for m in block.modules()]
    assert len(layers) == len(set(layers))
    leaves = {m for m in backbone.modules() if not list(m.children())}
    assert leaves <= set(layers)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("trained", [0, 1, 2])
def test_the_parts_of_a_cut_compute_what_the_whole_does(name: str, trained: int) -> None:
    whole = classifier(name)
    parts = cut(whole, trained)
    if name == "vit_b_16" and trained:
        assert parts is None
        return
    assert parts is not None
    lower, upper = parts
    images = torch.randn(2, 3, 224 if name == "vit_b_16" else 64, 224 if name == "vit_b_16" else 64)
    with torch.inference_mode():
        features = lower(images)
        assert torch.equal(upper(features), whole(images))
    own = {id(p) for p in whole.parameters()}
    assert {id(p) for p in upper.parameters()} <= own  # shared, not copied
    stages = find_stages(whole.backbone)
    top = [p for stage in stages[len(stages) - trained :] for p in stage.parameters]
    assert {id(p) for p in upper.parameters()} == {
        *map(id, top),
        *map(id, whole.head.parameters()),
    }


def test_nothing_is_left_to_cut_below_all_stages() -> None:
    assert cut(classifier("resnet18"), 4) is None
