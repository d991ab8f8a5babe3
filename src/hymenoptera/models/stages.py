"""A backbone's stages, from the image to the head: what is frozen or trained together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hymenoptera.errors import ConfigError, in_one_line

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # a subclass has its own forward
USUAL_PX = 224  # input side, at which a network's last stage has several places
SMALLER = 0.6  # of the places before: strides halve each side, borders cost a few places


@dataclass(frozen=True)
class Stage:
    """Blocks that work at one resolution; in a plain vision transformer, one encoder layer.

    Held by name: a strategy may replace layers, for synchronised batch norms say.

    Attributes:
        name: "stage1" is the one next to the image.
        modules: its blocks, and the layers before the first or after the last of them.
        parameters: all of theirs, and those that stand outside of any layer.
    """

    name: str
    modules: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)


def find_stages(backbone: nn.Module, size_px: int) -> list[Stage]:
    """The stages of a network, from the image to the head, by one forward pass without numbers.

    Its blocks are what its lists of layers hold, in the order in which they run. A stage begins
    with each block that leaves the image fewer places; where none does, with each block. What
    comes before the first block belongs to the first stage, what comes after the last to the last:
    ResNets and ConvNeXt have 4, MobileNet and EfficientNet 5, the ViT-B 13.

    Args:
        backbone: (B, 3, size_px, size_px) -> (B, D).
        size_px: of an image that it takes.

    Raises:
        ConfigError: the network does not run without numbers.
    """
    blocks = dict(_blocks(backbone))
    places = _places(backbone, [*blocks], size_px)
    groups = _groups(blocks, places, every=False)
    if len(groups) == 1:
        groups = _groups(blocks, places, every=True)
    _add_idle([*blocks], groups)
    stages = [Stage(f"stage{i}", names) for i, names in enumerate(groups, start=1)]
    owners = {name: stage for stage in stages for name in stage.modules}
    stage = stages[0]
    for name, _ in backbone.named_parameters():
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(1, len(parts)))
        # a parameter outside of any layer, such as the class token, goes with what precedes it
        stage = next((owners[prefix] for prefix in prefixes if prefix in owners), stage)
        stage.parameters.append(name)
    return stages


def whole(backbone: nn.Module) -> Stage:
    """All of a network as one stage."""
    modules = [name for name, _ in backbone.named_children()]
    return Stage("backbone", modules, [name for name, _ in backbone.named_parameters()])


def _blocks(backbone: nn.Module) -> Iterator[tuple[str, bool]]:
    """The names of blocks, and of layers outside of them; and whether a stage may begin there."""
    # VGG and AlexNet are lists of plain layers, and nothing else
    plain = not any(type(m) in LISTS and _holds_blocks(m) for m in backbone.modules())

    def walk(prefix: str, parent: nn.Module, in_list: bool) -> Iterator[tuple[str, bool]]:
        for own, module in parent.named_children():
            name, is_list = prefix + own, type(module) in LISTS
            if is_list and (plain or _holds_blocks(module)):
                yield from walk(f"{name}.", module, True)
            elif not is_list and not in_list and _wraps_list(module):
                yield from walk(f"{name}.", module, False)
            else:
                yield name, in_list and (plain or _is_block(module))

    found = list(walk("", backbone, False))
    if not any(begins for _, begins in found):  # no lists: Inception
        found = [(name, _is_block(backbone.get_submodule(name))) for name, _ in found]
    yield from found


def _is_block(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _holds_blocks(module: nn.Module) -> bool:
    return any(map(_is_block, module.children()))


def _wraps_list(module: nn.Module) -> bool:
    """Whether a module's children are more than layers: the encoder of torchvision's ViT."""
    lists = (child for child in module.children() if type(child) in LISTS)
    return any(sum(map(_is_block, one.children())) > 1 for one in lists)


def _places(backbone: nn.Module, names: list[str], size_px: int) -> dict[str, int]:
    """How many places the output of each module has, in the order in which they ran; 0 for none."""
    places: dict[str, int] = {}
    sides = [size_px] if size_px >= USUAL_PX else [USUAL_PX, size_px]

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            places.setdefault(name, _count(output))

        return hook

    hooks = [backbone.get_submodule(name).register_forward_hook(look(name)) for name in names]
    tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
    was_training = backbone.training
    state = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    try:
        for side in sides:
            places.clear()
            try:
                with torch.no_grad():
                    images = torch.empty(1, 3, side, side, device="meta")
                    functional_call(backbone.eval(), state, (images,))
                return places
            except Exception as error:  # of the network's own code, not written for this
                reason = in_one_line(error)
    finally:
        backbone.train(was_training)
        for hook in hooks:
            hook.remove()
    raise ConfigError(
        f"model.backbone: the stages of this network cannot be found ({reason}). "
        f"Train all of it or its head alone: transfer=full or transfer=head."
    )


def _count(output: Any) -> int:
    if isinstance(output, dict):
        output = list(output.values())
    while isinstance(output, list | tuple) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return 0
    if output.ndim == 3:  # (B, N, C) tokens
        return output.shape[1]
    _, first, second, third = output.shape  # (B, C, H, W), or (B, H, W, C)
    return first * second if first == second != third else second * third


def _groups(blocks: dict[str, bool], places: dict[str, int], *, every: bool) -> list[list[str]]:
    """The modules that ran, by stage."""
    groups: list[list[str]] = [[]]
    now = 0
    for name, count in places.items():
        if blocks[name] and count > 1:
            if groups[-1] and (every or count <= SMALLER * now):
                groups.append([])
            now = min(now or count, count)
        groups[-1].append(name)
    return groups


def _add_idle(names: list[str], groups: list[list[str]]) -> None:
    """Add modules that did not run, such as those for training alone, to what precedes them."""
    group, ran = groups[0], {name: group for group in groups for name in group}
    for name in names:
        group = ran.get(name, group)
        if name not in ran:
            group.append(name)
