"""What of a classifier is trained, from which epoch on, and at which rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hymenoptera.errors import RequestError
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.stages import Stage, find_stages


@dataclass(frozen=True)
class Part:
    """A stage or the head, and how it is trained.

    Attributes:
        stage: what is trained together.
        first_epoch: from which it is trained, from 1; None for never.
        lr_scale: its rate as a multiple of the optimizer's.
    """

    stage: Stage
    first_epoch: int | None
    lr_scale: float

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the part if an epoch, from 1, does not train it, and have it trained otherwise.

        What is frozen is in eval mode, so that batch-norm statistics stay too, and dropout is off.
        """
        self.stage.freeze(self.first_epoch is None or epoch < self.first_epoch)


class Transfer:
    """Trains the head from the first epoch, and the backbone's stages from the top down.

    Args:
        unfreeze_epochs: the epoch, from 1, in which each stage begins to be trained, the topmost
            first; stages that the list does not reach stay frozen. A number is the epoch for all.
        lr_decay: each stage's rate is that of the one above it times this; the head's is the
            optimizer's (Howard & Ruder, "Universal Language Model Fine-tuning", 2018, 3.2).
        views: None for a fresh augmentation of every picture in every epoch, 0 for none, or how
            many augmented views of each picture there are; the epochs take turns with them.
        cache: with `views`, compute once what the stages that stay frozen give, and keep it.
        cache_folder: where it is kept.
    """

    def __init__(
        self,
        unfreeze_epochs: int | Sequence[int],
        lr_decay: float = 1.0,
        views: int | None = None,
        cache: bool = False,
        cache_folder: str = "",
    ) -> None:
        self.views = views
        self.cache = cache
        self.cache_folder = cache_folder
        self._unfreeze_epochs = unfreeze_epochs
        self._lr_decay = lr_decay

    def parts(self, classifier: Classifier) -> list[Part]:
        """The head and all stages, from the top down.

        Raises:
            RequestError: the backbone has fewer stages than epochs were given.
        """
        stages = find_stages(classifier.backbone)[::-1]
        epochs = self._unfreeze_epochs
        if isinstance(epochs, int):
            epochs = [epochs] * len(stages)
        if len(epochs) > len(stages):
            raise RequestError(
                f"transfer.unfreeze_epochs={list(epochs)} has {len(epochs)} epochs, and "
                f"{classifier.backbone_name} has {len(stages)} stages to unfreeze. "
                f"Give {len(stages)} or fewer."
            )
        first_epochs = [*epochs, *[None] * (len(stages) - len(epochs))]
        head = Stage("head", [classifier.head], list(classifier.head.parameters()))
        return [
            Part(head, 1, 1.0),
            *(
                Part(stage, first_epoch, self._lr_decay**depth)
                for depth, (stage, first_epoch) in enumerate(
                    zip(stages, first_epochs, strict=True), start=1
                )
            ),
        ]

    def trained_stages(self, classifier: Classifier) -> int:
        """How many of the stages, from the top, are trained at some time."""
        return sum(part.first_epoch is not None for part in self.parts(classifier)[1:])

    def at_once(self) -> "Transfer":
        """The same, with all that is trained at some time trained from the first epoch."""
        epochs = self._unfreeze_epochs
        begun = 1 if isinstance(epochs, int) else [1] * len(epochs)
        return Transfer(begun, self._lr_decay, self.views, self.cache, self.cache_folder)

    def parameter_groups(self, classifier: Classifier) -> list[dict[str, Any]]:
        """All that is trained at some time, in groups for a torch optimizer.

        Neighbours that begin together at one rate are together, in the model's order. Norms and
        biases are in a group of their own, without weight decay.

        Returns:
            For each group its `params`, `name`, `part` (the same for both of those that are
            together), `first_epoch` and `lr_scale`, and a `weight_decay` of 0 where it has none.
        """
        groups: list[dict[str, Any]] = []
        parts = self.parts(classifier)
        for members in _alike(parts):
            trained = {id(p) for part in members for p in part.stage.parameters}
            parameters = [p for p in classifier.parameters() if id(p) in trained]
            part_name = "all" if len(members) == len(parts) else _name(members)
            common = {
                "name": part_name,
                "part": part_name,
                "first_epoch": members[0].first_epoch,
                "lr_scale": members[0].lr_scale,
            }
            for decayed in (True, False):
                params = [p for p in parameters if _is_decayed(p) == decayed]
                if params:
                    own = common | {"params": params}
                    undecayed = {"name": f"{part_name}, no decay", "weight_decay": 0.0}
                    groups.append(own if decayed else own | undecayed)
        return groups


def _alike(parts: list[Part]) -> list[list[Part]]:
    """Neighbours that begin in the same epoch at the same rate; less those that never begin."""
    runs: list[list[Part]] = []
    for part in parts:
        if part.first_epoch is None:
            continue
        last = runs[-1][-1] if runs else None
        if last and (last.first_epoch, last.lr_scale) == (part.first_epoch, part.lr_scale):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _name(members: list[Part]) -> str:
    top, bottom = members[0].stage.name, members[-1].stage.name
    return top if len(members) == 1 else f"{bottom}-{top}"


def _is_decayed(parameter: nn.Parameter) -> bool:
    return parameter.squeeze().ndim > 1  # a norm's or a bias has one dimension that counts
