"""What of a classifier is trained, from which epoch on, and with which learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import nn

from hymenoptera.errors import ConfigError
from hymenoptera.models.stages import Stage, find_stages


@dataclass(frozen=True)
class Part:
    """A stage of the backbone or the head, and how it is trained.

    Attributes:
        stage: its layers and parameters, by their names in the classifier.
        first_epoch: from which it is trained, from 1; None for never.
        lr_scale: its learning rate as a multiple of the optimizer's.
    """

    stage: Stage
    first_epoch: int | None
    lr_scale: float

    def freeze(self, classifier: nn.Module, frozen: bool, *, keep_gradients: bool = False) -> None:
        """Keep parameters, batch-norm statistics and dropout still, or let them train.

        Args:
            classifier: whose part it is.
            frozen: whether it is frozen.
            keep_gradients: let a frozen parameter have a gradient all the same.
        """
        for name in self.stage.parameters:
            classifier.get_parameter(name).requires_grad_(not frozen or keep_gradients)
        for name in self.stage.modules:
            classifier.get_submodule(name).train(not frozen)


def find_parts(
    classifier: nn.Module, unfreeze_epochs: int | Sequence[int], lr_decay: float
) -> list[Part]:
    """The head and all stages of a classifier, from the top down.

    Args:
        classifier: with a `backbone` and a `head`.
        unfreeze_epochs: the epoch, from 1, in which each stage begins to be trained, the topmost
            first; stages that the list does not reach stay frozen. A number is the epoch for all.
        lr_decay: each stage's learning rate is that of the one above it times this; the head's is
            the optimizer's (Howard & Ruder, "Universal Language Model Fine-tuning", 2018, 3.2).

    Raises:
        ConfigError: the backbone has fewer stages than epochs were given.
    """
    stages = find_stages(classifier.get_submodule("backbone"))[::-1]
    count, given = len(stages), unfreeze_epochs
    epochs = [given] * count if isinstance(given, int) else [*given]
    if len(epochs) > count:
        raise ConfigError(
            f"transfer.unfreeze_epochs={epochs} has {len(epochs)} epochs, and this backbone has "
            f"{count} stages to unfreeze. Give {count} or fewer."
        )
    parts = [Part(Stage("head", ["head"], ["head.weight", "head.bias"]), 1, 1.0)]
    for depth, stage in enumerate(stages):
        first_epoch = epochs[depth] if depth < len(epochs) else None
        names = [[f"backbone.{n}" for n in names] for names in (stage.modules, stage.parameters)]
        parts.append(Part(Stage(stage.name, *names), first_epoch, lr_decay ** (depth + 1)))
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
        stages = [part.stage for part in run]
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
