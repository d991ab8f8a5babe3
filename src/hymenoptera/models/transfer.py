"""What of a classifier is trained, from which epoch on, and at which learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from torch import nn

from hymenoptera.errors import ConfigError
from hymenoptera.models.stages import find_stages, whole


@dataclass(frozen=True)
class Part:
    """The head or a stage of the backbone: what is frozen or trained together.

    A stage has the blocks that work at one resolution; in a vision transformer it is one encoder
    layer. Layers are held by name: a strategy may replace them, for synchronised batch norms say.

    Attributes:
        name: "head", or of a stage; "stage1" is the one next to the image.
        modules: its blocks, and the layers before the first or after the last of them.
        parameters: all of theirs, and those that stand outside of any layer.
        first_epoch: from which it is trained, from 1; None for never.
        lr_scale: its learning rate as a multiple of the optimizer's.
    """

    name: str
    modules: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    first_epoch: int | None = None
    lr_scale: float = 1.0

    def freeze(self, classifier: nn.Module, frozen: bool, *, keep_gradients: bool = False) -> None:
        """Keep parameters, batch-norm statistics and dropout still, or let them train.

        Args:
            classifier: whose part it is.
            frozen: whether it is frozen.
            keep_gradients: let a frozen parameter have a gradient all the same.
        """
        for name in self.parameters:
            classifier.get_parameter(name).requires_grad_(not frozen or keep_gradients)
        for name in self.modules:
            classifier.get_submodule(name).train(not frozen)


def find_parts(
    classifier: nn.Module, unfreeze_epochs: int | Sequence[int], lr_decay: float, size_px: int
) -> list[Part]:
    """The head and the stages of a classifier, from the top down.

    A backbone that is trained as a whole, or not at all, is one stage: any network has it.

    Args:
        classifier: with a `backbone` and a `head`.
        unfreeze_epochs: the epoch, from 1, in which each stage begins to be trained, the topmost
            first; stages that the list does not reach stay frozen. A number is the epoch for all.
        lr_decay: each stage's learning rate is that of the one above it times this; the head's is
            the optimizer's (Howard & Ruder, "Universal Language Model Fine-tuning", 2018, 3.2).
        size_px: of an image that the backbone takes.

    Raises:
        ConfigError: the backbone has fewer stages than epochs were given, or none can be found.
    """
    backbone = classifier.get_submodule("backbone")
    is_whole = unfreeze_epochs == [] or (unfreeze_epochs == 1 and lr_decay == 1)
    stages = [whole(backbone)] if is_whole else find_stages(backbone, size_px)[::-1]
    count, given = len(stages), unfreeze_epochs
    epochs = [given] * count if isinstance(given, int) else [*given]
    if len(epochs) > count:
        raise ConfigError(
            f"transfer.unfreeze_epochs={epochs} has {len(epochs)} epochs, and this backbone has "
            f"{count} stages to unfreeze. Give {count} or fewer."
        )
    parts = [Part("head", ["head"], ["head.weight", "head.bias"], first_epoch=1)]
    for depth, stage in enumerate(stages):
        first_epoch = epochs[depth] if depth < len(epochs) else None
        modules = [f"backbone.{name}" for name in stage.modules]
        parameters = [f"backbone.{name}" for name in stage.parameters]
        lr_scale = lr_decay ** (depth + 1)
        parts.append(Part(stage.name, modules, parameters, first_epoch, lr_scale))
    return parts


def parameter_groups(classifier: nn.Module, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Groups for an optimizer: all that is ever trained, from the first step on.

    Neighbouring parts that begin in the same epoch with the same learning rate are one. Norms and
    biases have no weight decay.

    Returns:
        For each group `params`; `name`, which differs from group to group; `part`, what is trained
        together; its `first_epoch`; `lr_scale`, by which the optimizer's learning rate is
        multiplied; and `weight_decay` 0 where there is none. Parameters are in the model's order.
    """
    groups: list[dict[str, Any]] = []
    trained = [part for part in parts if part.first_epoch is not None]
    for (first_epoch, lr_scale), run in groupby(trained, lambda p: (p.first_epoch, p.lr_scale)):
        stages = list(run)
        names = {name for stage in stages for name in stage.parameters}
        parameters = [p for name, p in classifier.named_parameters() if name in names]
        part = "-".join(dict.fromkeys((stages[-1].name, stages[0].name)))
        part = "all" if len(stages) == len(parts) else part
        common = {"part": part, "first_epoch": first_epoch, "lr_scale": lr_scale}
        for name, more, decayed in (
            (part, {}, True),
            (f"{part}, no decay", {"weight_decay": 0.0}, False),
        ):
            # a norm's or a bias has one dimension that counts
            params = [p for p in parameters if (p.squeeze().ndim > 1) == decayed]
            if params:
                groups.append({"params": params, "name": name, **common, **more})
    return groups
