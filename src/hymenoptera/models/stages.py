"""A backbone's stages, from the picture to the head: what is frozen, and where it can be cut."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from hymenoptera.models.classifier import Classifier

BLOCK = re.compile(r"(?:layer\d+|features\.\d+|encoder\.layers\.encoder_layer_\d+)")
"""What torchvision calls the blocks that its networks run one after another."""


@dataclass(frozen=True)
class Stage:
    """Blocks that work at one resolution; in a vision transformer, one encoder layer.

    Attributes:
        name: "stage1" is the one next to the picture.
        modules: its blocks, and the layers before the first or after the last of them.
        parameters: of all of these, and those that stand outside of any layer.
    """

    name: str
    modules: list[nn.Module] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)

    def freeze(self, frozen: bool) -> None:
        """Keep parameters, batch-norm statistics and dropout still, or let them train."""
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)
        for module in self.modules:
            module.train(not frozen)


def find_stages(backbone: nn.Module) -> list[Stage]:
    """The stages of a torchvision network, from the picture to the head.

    A stage begins with each block that makes the picture smaller, and with each encoder layer.
    What comes before the first block belongs to the first stage, what comes after the last block
    to the last: ResNets and ConvNeXt have 4, MobileNet and EfficientNet 5, the ViT-B 13.
    """
    numbers: dict[str, int] = {}  # of the stage, by the names of blocks and of loose layers
    current = 0
    for name, module in backbone.named_modules():
        if BLOCK.fullmatch(name):
            current += bool(numbers) and _begins_stage(name, module)
        elif BLOCK.match(name) or next(module.children(), None) is not None:
            continue  # inside a block, or around several
        numbers[name] = current
    stages = [Stage(f"stage{number + 1}") for number in range(current + 1)]
    for name, number in numbers.items():
        stages[number].modules.append(backbone.get_submodule(name))
    current = 0
    for name, parameter in backbone.named_parameters():
        # a parameter outside of any layer, such as the class token, goes with what precedes it
        current = next((numbers[owner] for owner in _owners(name) if owner in numbers), current)
        stages[current].parameters.append(parameter)
    return stages


def cut(classifier: Classifier, trained: int) -> tuple[nn.Module, nn.Module] | None:
    """Cut a classifier below its topmost stages; the parts share their layers with the whole.

    Args:
        classifier: stays as it is.
        trained: how many stages belong to the upper part, beside the head.

    Returns:
        The lower part, images (B, 3, H, W) -> features, and the upper one, features -> (B, C)
        logits; None where the network's forward pass does more than run its blocks in turn, so
        that it can be cut below the head only.
    """
    if trained == 0:
        return classifier.backbone, classifier.head
    stages = find_stages(classifier.backbone)
    below, above = stages[:-trained], stages[-trained:]
    if not below or any(isinstance(m, nn.MultiheadAttention) for m in classifier.modules()):
        return None  # a vision transformer makes its tokens outside of any block
    # two copies that share their layers with the whole: in each, what lies in the other part
    # passes its input on
    passing = {id(m): nn.Identity() for stage in stages for m in stage.modules}
    shared = {id(m): m for stage in stages for m in stage.modules}
    lower = {id(m) for stage in below for m in stage.modules}
    bottom, top = (
        copy.deepcopy(
            classifier.backbone,
            {key: (shared if (key in lower) == is_lower else passing)[key] for key in shared},
        )
        for is_lower in (True, False)
    )
    first = passing[id(above[0].modules[0])]
    return _Until(bottom, first), nn.Sequential(top, classifier.head)


class _Until(nn.Module):
    """A network up to one of its layers: gives what that layer would be given."""

    def __init__(self, network: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the layer's input."""
        handle = self.layer.register_forward_pre_hook(_stop)
        try:
            self.network(images)
        except _ReachedError as reached:
            return reached.features
        finally:
            handle.remove()
        raise RuntimeError("the network does not run the layer")


class _ReachedError(Exception):
    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    raise _ReachedError(inputs[0])


def _begins_stage(name: str, block: nn.Module) -> bool:
    strides = (m.stride for m in block.modules() if isinstance(m, nn.Conv2d))
    return "encoder_layer" in name or any(stride != (1, 1) for stride in strides)


def _owners(name: str) -> Iterator[str]:
    """The modules that a parameter lies in, the outermost first."""
    parts = name.split(".")[:-1]
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])
