"""What a config may name to be built, wherever it comes from: a checkpoint holds one too."""

import re
from collections.abc import Mapping
from typing import Any

from hymenoptera.errors import RequestError

ALLOWED_TARGETS = (  # no more than one name below a module: os hides in many of them
    r"hymenoptera\.data\.(datamodule|stream)\.\w+DataModule",
    r"hymenoptera\.models\.backbone\.build_backbone",
    r"hymenoptera\.models\.transfer\.[A-Z]\w*",
    r"hymenoptera\.models\.schedulers\.[a-z]\w*",
    r"hymenoptera\.callbacks\.\w+\.[A-Z]\w*",
    r"pytorch_lightning\.(Trainer|Callback)",
    r"pytorch_lightning\.(callbacks|loggers|profilers|strategies)\.[A-Z]\w*",
    r"torch\.optim\.(lr_scheduler\.)?[A-Z]\w*",
    r"torchvision\.transforms\.(v2\.)?[A-Z]\w*",
)


def check_targets(value: Any, key: str = "") -> None:
    """Refuse a `_target_` that is not among ALLOWED_TARGETS, at any depth: Hydra builds those too.

    Args:
        value: a node, or what is inside one.
        key: where it stands, with a dot at its end.

    Raises:
        RequestError: naming the key and the target.
    """
    if isinstance(value, list | tuple):
        for item in value:
            check_targets(item, key)
        return
    if not isinstance(value, Mapping):
        return
    target = value.get("_target_")
    if target is not None and not any(re.fullmatch(p, str(target)) for p in ALLOWED_TARGETS):
        raise RequestError(
            f"{key}_target_={target}: only this may be built: hymenoptera's own data modules, "
            f"models, schedulers and callbacks;\nLightning's Trainer, callbacks, loggers, "
            f"profilers and strategies; torch.optim; torchvision.transforms."
        )
    for name, item in value.items():
        check_targets(item, f"{key}{name}.")
