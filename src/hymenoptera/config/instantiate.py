"""Builds objects from config nodes: the one place that calls `hydra.utils.instantiate`."""

import inspect
import logging
import re
from collections.abc import Mapping
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

from hymenoptera.config.launched import task_overrides
from hymenoptera.config.schema import RULES
from hymenoptera.config.validation import is_ours
from hymenoptera.errors import ConfigError, HymenopteraError, first_cause, in_one_line, nearest

log = logging.getLogger(__name__)

LOGGERS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}  # and the extra that each needs
ALLOWED_TARGETS = (  # no more than one name below a module: os hides in many of them
    r"hymenoptera\.data\.(\w+\.)?[A-Z]\w*DataModule",
    r"hymenoptera\.models\.ImageClassifier",
    r"hymenoptera\.models\.schedulers\.[a-z]\w*",
    r"hymenoptera\.callbacks\.(\w+\.)?[A-Z]\w*",
    r"pytorch_lightning\.(Trainer|Callback)",
    r"pytorch_lightning\.(callbacks|loggers|profilers|strategies)\.[A-Z]\w*",
    r"torch\.optim\.(lr_scheduler\.)?[A-Z]\w*",
    r"torchvision\.transforms\.(v2\.)?[A-Z]\w*",
)


def instantiate(node: Any, key: str = "", **kwargs: Any) -> Any:
    """Call what a node's `_target_` names with the node's other keys, and with `kwargs` as given.

    `key` is the node's place in the config; found out for a DictConfig. Of a class that is not
    this project's, keys of conf/ and arguments that it does not take are left out.

    Raises:
        ConfigError: there is no such target, or it does not take its arguments.
    """
    if isinstance(node, DictConfig):
        key = key or str(node._get_full_key(""))
        node = OmegaConf.to_container(node, resolve=True)
    fitted = _fitted(node, key)
    accepted = _parameters(str(node["_target_"]), key)
    if accepted is not None and not is_ours(node):
        kwargs = {name: value for name, value in kwargs.items() if name in accepted}
    try:
        # partial: what is given here must not pass through OmegaConf, which copies
        build = hydra.utils.instantiate(fitted, _partial_=True, _convert_="all")
        return build if node.get("_partial_") else build(**kwargs)
    except Exception as error:
        cause = first_cause(error)
        if isinstance(cause, HymenopteraError):
            raise cause from error
        name = str(node["_target_"]).rpartition(".")[2]
        what = f"{key}: {name}".removeprefix(": ")
        reason = in_one_line(cause).rstrip(".")
        if isinstance(cause, ModuleNotFoundError) and name in LOGGERS:
            reason = f"it needs an extra: pip install -e '.[{LOGGERS[name]}]'"
        raise ConfigError(f"{what} cannot be built: {reason}.") from error


def instantiate_named(nodes: Any, key: str = "") -> dict[str, Any]:
    """Build each of some named nodes, less those that are null or have `enabled: false`."""
    if isinstance(nodes, DictConfig):
        key = key or str(nodes._get_full_key(""))
        nodes = OmegaConf.to_container(nodes, resolve=True)
    wanted = {name: dict(node) for name, node in nodes.items() if node}
    return {
        name: instantiate(node, f"{key}.{name}")
        for name, node in wanted.items()
        if node.pop("enabled", True)
    }


def check_targets(value: Any, key: str = "") -> None:
    """Raise ConfigError where a checkpoint's config names anything but ALLOWED_TARGETS."""
    if isinstance(value, DictConfig):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return
    target = value.get("_target_")
    if target is not None and not any(re.fullmatch(p, str(target)) for p in ALLOWED_TARGETS):
        raise ConfigError(
            f"{key}_target_={target}: a checkpoint's config may name only these: classes of "
            f"hymenoptera,\nof Lightning, of torch.optim and of torchvision.transforms."
        )
    for name, item in value.items():
        check_targets(item, f"{key}{name}.")


def _fitted(value: Any, key: str) -> Any:
    """A node as its target takes it, for `hydra.utils.instantiate`.

    `model._target_=my_module.MyModule` leaves the keys of conf/model in the node.
    """
    if isinstance(value, list):
        return [_fitted(item, key) for item in value]
    if not isinstance(value, Mapping):
        return value
    target = value.get("_target_", "")
    if target is None:
        return None
    accepted = _parameters(str(target), key) if target else None
    unknown = [n for n in value if accepted is not None and n not in accepted and n[0] != "_"]
    for name in unknown:
        if is_ours(value) or not _is_leftover(key, name):
            class_name, hint = str(target).rpartition(".")[2], nearest(name, accepted or ())
            place = f"{key}.{name}".strip(".")
            raise ConfigError(f"{place}: {class_name} takes no such option. {hint}".strip())
    if unknown:
        log.info("%s does not take these keys, left out: %s", target, ", ".join(unknown))
    return {n: _fitted(item, f"{key}.{n}") for n, item in value.items() if n not in unknown}


def _is_leftover(key: str, name: str) -> bool:
    """Whether a key is one of conf/ that the user has not set, and so meant for another class."""
    own = f"{key.rpartition('.')[2]}.{name}"  # model.optimizer is the optimizer
    given = [override.lstrip("+").partition("=")[0] for override in task_overrides()]
    is_of_conf = own in RULES or own.startswith(("model.optimizer", "model.scheduler"))
    return is_of_conf and own not in given


def _parameters(target: str, key: str) -> set[str] | None:
    """Names of the keyword arguments that a target takes; None if it takes any."""
    try:
        found = hydra.utils.get_object(target)
    except Exception as error:
        place = f"{key}._target_".strip(".")
        reason = in_one_line(first_cause(error))
        raise ConfigError(f"{place}={target}: it cannot be imported ({reason}).") from error
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
