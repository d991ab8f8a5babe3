"""A backbone's stages, from the image to the head: what is frozen or trained together."""

import re
from dataclasses import dataclass, field

from torch import nn

BLOCK = re.compile(r"(?:layer\d+|features\.\d+|encoder\.layers\.encoder_layer_\d+)")
"""What torchvision calls the blocks that its networks run one after another."""


@dataclass(frozen=True)
class Stage:
    """Blocks that work at one resolution; in a vision transformer, one encoder layer.

    Held by name: a strategy may replace layers, for synchronised batch norms say.

    Attributes:
        name: "stage1" is the one next to the image.
        modules: its blocks, and the layers before the first or after the last of them.
        parameters: all of theirs, and those that stand outside of any layer.
    """

    name: str
    modules: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)


def find_stages(backbone: nn.Module) -> list[Stage]:
    """The stages of a torchvision network, from the image to the head.

    A stage begins with each block that makes the image smaller, and with each encoder layer.
    What comes before the first block belongs to the first stage, what comes after the last block
    to the last: ResNets and ConvNeXt have 4, MobileNet and EfficientNet 5, the ViT-B 13.
    """
    stages = [Stage("stage1")]
    owners: dict[str, Stage] = {}  # by the names of blocks and of other layers
    for name, module in backbone.named_modules():
        if BLOCK.fullmatch(name):
            if owners and _begins_stage(name, module):
                stages.append(Stage(f"stage{len(stages) + 1}"))
        elif BLOCK.match(name) or next(module.children(), None) is not None:
            continue  # inside a block, or around several
        owners[name] = stages[-1]
        stages[-1].modules.append(name)
    stage = stages[0]
    for name, _ in backbone.named_parameters():
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(1, len(parts)))
        # a parameter outside of any layer, such as the class token, goes with what precedes it
        stage = next((owners[prefix] for prefix in prefixes if prefix in owners), stage)
        stage.parameters.append(name)
    return stages


def _begins_stage(name: str, block: nn.Module) -> bool:
    strides = (m.stride for m in block.modules() if isinstance(m, nn.Conv2d))
    return "encoder_layer" in name or any(stride != (1, 1) for stride in strides)
