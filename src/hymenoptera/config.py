"""Checks a config before any work, and builds objects from it; the one place that instantiates.

`check` knows every key that conf/ offers and what its value may be. It imports neither torch nor
Lightning, so that a wrong request is answered at once.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hymenoptera.errors import HymenopteraError, RequestError, nearest
from hymenoptera.targets import check_targets

Rule = Callable[[Any], str | None]
"""From a value to what it must be, where it is not; None where it is well."""

OPEN_NODES = ("optimizer", "scheduler", "trainer", "callbacks", "logger")
"""Nodes that are handed to a class as they are: +trainer.OPTION=VALUE is the user's business."""


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    def rule(value: Any) -> str | None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if good and math.isfinite(value) and low <= value <= high and (value > low or not above):
            return None
        span = f"above {low:g}" if above else f"of {low:g} or more"
        return f"a number {span}" + (f" and {high:g} or less" if high < math.inf else "")

    return rule


def _integer(low: int, *words: str | None) -> Rule:
    def rule(value: Any) -> str | None:
        if value in words and not isinstance(value, bool):
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**32:
            return None
        return " or ".join([f"a whole number of {low} or more", *map(_word, words)])

    return rule


def _one_of(*words: Any) -> Rule:
    def rule(value: Any) -> str | None:
        if any(value == word and type(value) is type(word) for word in words):
            return None
        hint = nearest(str(value), [_word(w) for w in words])
        return f"one of {', '.join(map(_word, words))}. {hint}".removesuffix(".")

    return rule


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "a text that is not empty"


def _name(value: Any) -> str | None:
    if re.fullmatch(r"\w[\w.-]*", str(value)):
        return None
    return "a folder's name: letters, digits, _, . and -"


def _optional(rule: Rule) -> Rule:
    return lambda value: None if value is None else rule(value)


def _crop_scale(value: Any) -> str | None:
    numbers = list(value) if isinstance(value, list | tuple) else []
    good = len(numbers) == 2 and all(_number(0, 1, above=True)(n) is None for n in numbers)
    if good and numbers[0] <= numbers[1]:
        return None
    return "two numbers above 0 and 1 or less, the smaller one first, such as [0.08,1.0]"


def _unfreeze_epochs(value: Any) -> str | None:
    epochs = value if isinstance(value, list) else [value]
    if all(_integer(1)(epoch) is None for epoch in epochs) and epochs == sorted(epochs):
        return None
    return "an epoch from 1 for all stages, or a list of them for the topmost first: [1,3]"


def _devices(value: Any) -> str | None:
    if value in ("auto", 1) or (
        isinstance(value, list) and len(value) == 1 and isinstance(value[0], int) and value[0] >= 0
    ):
        return None
    return "auto, 1, or the index of one device such as [1]: a run uses one device"


BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
)
_FRACTION = _number(0, 1)
_TARGET = _optional(_text)

RULES: dict[str, Rule] = {
    "compile": _one_of(True, False),
    "find_lr": _optional(_text),
    "find_lr.min_lr": _number(0, above=True),
    "find_lr.max_lr": _number(0, above=True),
    "find_lr.steps": _integer(20),
    "loss.label_smoothing": lambda v: _FRACTION(v) if v != 1 else "below 1",
    "seed": _integer(0),
    "resume": _optional(_text),
    "out_of_memory": _one_of("fail", "halve"),
    "report": _one_of(True, False),
    "sweep.name": _name,
    "sweep.search": _one_of("grid", "optuna"),
    "sweep.processes": _integer(1, "auto", None),
    "sweep.trials": _optional(_integer(1)),
    "sweep.pruning": _one_of(True, False),
    "message.begin": _optional(_text),
    "message.end": _optional(_text),
    "data._target_": _TARGET,
    "data.source": _text,
    "data.folder": _text,
    "data.root": _text,
    "data.val_fraction": lambda v: _FRACTION(v) if v not in (0, 1) else "between 0 and 1",
    "data.test_fraction": lambda v: _FRACTION(v) if v != 1 else "below 1",
    "data.folds": _optional(_integer(2)),
    "data.fold": _optional(_integer(0)),
    "data.split_seed": _integer(0),
    "data.drawing_seed": _integer(0),
    "data.train_per_class": _integer(1),
    "data.val_per_class": _integer(1),
    "data.size_px": _integer(32),
    "data.batch_size": _integer(1),
    "data.eval_batch_size": _integer(1),
    "data.num_workers": _integer(0, "auto"),
    "data.on_error": _one_of("fail", "skip"),
    "data.crop_scale": _crop_scale,
    "data.flip_probability": _FRACTION,
    "data.seed": _integer(0),
    "model._target_": _TARGET,
    "model.name": _one_of(*BACKBONES),
    "model.weights": _text,
    "model.image_size": _optional(_integer(32)),
    "transfer._target_": _TARGET,
    "transfer.unfreeze_epochs": _unfreeze_epochs,
    "transfer.lr_decay": _number(0, 1, above=True),
    "transfer.views": _optional(_integer(0)),
    "transfer.cache": _one_of(True, False),
    "transfer.cache_folder": _text,
    "optimizer.lr": _number(0, above=True),
    "optimizer.weight_decay": _number(0),
    "optimizer.momentum": _FRACTION,
    "optimizer.nesterov": _one_of(True, False),
    "scheduler.warmup_fraction": _FRACTION,
    "scheduler.step_epochs": _integer(1),
    "scheduler.gamma": _number(0, 1, above=True),
    "trainer.max_epochs": _integer(1),
    "trainer.accelerator": _one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": _devices,
    "trainer.precision": _one_of(
        "auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", 32
    ),
    "trainer.gradient_clip_val": _optional(_number(0, above=True)),
    "trainer.check_val_every_n_epoch": _one_of(1),  # an epoch's row has both parts
    "trainer.fast_dev_run": _one_of(False),  # leaves no checkpoint; trainer=debug does
    "trainer.limit_train_batches": _number(0, above=True),
    "trainer.limit_val_batches": _number(0, above=True),
    "callbacks.last_checkpoint.every_s": _number(0),
    "callbacks.early_stopping.patience": _integer(0),
    "callbacks.augmented_pictures.count": _integer(1),
    "callbacks.grad_cam.wrong": _integer(0),
    "callbacks.grad_cam.right": _integer(0),
}
NEEDED = (  # what the code reads, and an override may have removed or replaced
    *("seed", "resume", "report", "compile", "find_lr", "out_of_memory", "sweep"),
    *("loss.label_smoothing", "message.begin", "message.end", "logger"),
    *("data._target_", "data.folds", "data.fold", "data.batch_size", "data.eval_batch_size"),
    *("model._target_", "model.name", "model.weights"),
    *("transfer._target_", "transfer.unfreeze_epochs", "transfer.views", "transfer.cache"),
    *("optimizer._target_", "optimizer.lr", "scheduler._target_"),
    *("trainer._target_", "trainer.max_epochs", "trainer.accelerator", "trainer.devices"),
    *("trainer.precision", "callbacks.best_checkpoint", "callbacks.last_checkpoint"),
)


def check(cfg: DictConfig) -> dict[str, Any]:
    """Refuse a config that cannot work, as far as that can be told without any work.

    Args:
        cfg: the composed config, without Hydra's own node.

    Returns:
        The config with its interpolations resolved, as plain containers.

    Raises:
        RequestError: naming the key, its value and what it must be.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "the config"
        what = str(error).splitlines()[0]
        raise RequestError(f"{key}: {what}. Set it with {key}=VALUE.") from error
    assert isinstance(plain, dict)
    config = {str(key): value for key, value in plain.items()}
    check_targets(config)
    check_values(config)
    try:
        _check_together(config)
    except (LookupError, TypeError, AttributeError) as error:
        raise RequestError(
            f"The config is not whole: {error}. Leave out the override that removes or replaces "
            f"a part of it."
        ) from error
    return config


def _check_together(config: dict[str, Any]) -> None:
    """Refuse what is missing, and what keys make impossible together."""
    for key in NEEDED:
        node: Any = config
        for name in key.split("."):
            if not isinstance(node, Mapping) or name not in node:
                raise RequestError(f"{key} is missing: it is needed. Give it a value.")
            node = node[name]
    for group in ("callbacks", "logger"):
        for name, node in config[group].items():
            if node and "_target_" not in node:
                raise RequestError(f"{group}.{name}._target_ is missing: it says what to build.")
    for name in ("best_checkpoint", "last_checkpoint"):
        node = config["callbacks"].get(name)
        if not node or not node.get("enabled", True):
            raise RequestError(f"callbacks.{name} is what a run leaves behind: it stays on.")
    _check_fold(config["data"])
    _check_files(config)
    _check_transfer(config)
    _check_find_lr(config)
    if config["trainer"]["precision"] == "16-mixed" and config["trainer"]["accelerator"] == "cpu":
        raise RequestError(
            "trainer.precision=16-mixed needs a GPU: on a CPU take 32-true or bf16-mixed."
        )


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse a key that conf/ does not have, and a value that its rule does not allow.

    Args:
        config: composed, in plain containers; all of it, or some of its nodes.

    Raises:
        RequestError: naming the key, its value and what it must be.
    """
    for key, value in flatten(config).items():
        rule = RULES.get(key, _enabled if key.endswith(".enabled") else None)
        if rule is None:
            if key.split(".")[0] not in OPEN_NODES:
                raise RequestError(f"{key}: there is no such key. {nearest(key, RULES)}")
            continue
        wanted = rule(value)
        if wanted is not None:
            raise RequestError(f"{key}={_shown(value)}: it must be {wanted}.")


def build(node: Mapping[str, Any], *arguments: Any, **more: Any) -> Any:
    """Call what a node's `_target_` names, with the node's other keys and what is given here.

    Args:
        node: of the config; its keys are the keyword arguments.
        arguments: go before them, as they are.
        more: go beside them, as they are.

    Raises:
        RequestError: a target, of the node or of one inside it, lies outside `ALLOWED_TARGETS`,
            or refuses its arguments.
    """
    from hydra.utils import instantiate

    check_targets(node)  # of all nodes in it: instantiate builds those too
    target = str(node["_target_"])
    try:
        # partial: what is given here must not pass through OmegaConf, which copies
        return instantiate(node, _partial_=True, _convert_="all")(*arguments, **more)
    except HymenopteraError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise RequestError(f"{target.rpartition('.')[2]} cannot be built: {reason}") from error


def build_named(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Build a named dictionary of nodes, less those with `enabled: false`."""
    return {
        name: build({key: value for key, value in node.items() if key != "enabled"})
        for name, node in nodes.items()
        if node and node.get("enabled", True)
    }


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; a list is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def is_url(source: str) -> bool:
    """Whether a data source is an address rather than a path."""
    return "://" in source


def _check_fold(data: dict[str, Any]) -> None:
    """Refuse a fold that the folds do not have."""
    folds, fold = data["folds"], data["fold"]
    if folds is None and fold is not None:
        raise RequestError(f"data.fold={fold}: say of how many, data.folds=5 for example.")
    if folds is not None and (fold is None or fold >= folds):
        raise RequestError(
            f"data.fold={_shown(fold)}: data.folds={folds} makes the folds 0 to {folds - 1}, and "
            f"one of them validates.\nA sweep over all of them: -m data.folds={folds} "
            f"'data.fold=range({folds})'"
        )


def _check_files(config: dict[str, Any]) -> None:
    """Refuse paths that lead nowhere."""
    data, weights = config["data"], config["model"]["weights"]
    if "source" in data and not is_url(data["source"]) and not _exists(data["source"]):
        raise RequestError(
            f"data.source={data['source']}: there is no such file or folder. "
            f"It takes a URL, a zip file or a folder."
        )
    if "root" in data and not _exists(data["root"]):
        raise RequestError(f"data.root={data['root']}: there is no such folder.")
    if config["resume"] is not None:  # all weights come from its checkpoint
        return
    if weights not in ("imagenet", "none") and not Path(weights).expanduser().is_file():
        raise RequestError(
            f"model.weights={weights}: there is no such file. "
            f"It takes imagenet, none, or the path of a state dict."
        )


def _check_transfer(config: dict[str, Any]) -> None:
    """Refuse what transfer, data and trainer make impossible together."""
    transfer, data, max_epochs = config["transfer"], config["data"], config["trainer"]["max_epochs"]
    epochs = transfer["unfreeze_epochs"]
    last = max(epochs if isinstance(epochs, list) else [epochs], default=1)
    if last > max_epochs:
        raise RequestError(
            f"transfer.unfreeze_epochs={_shown(epochs)}: epoch {last} is past the last one, "
            f"trainer.max_epochs={max_epochs}."
        )
    if transfer["views"] and not data["flip_probability"] and data["crop_scale"] == [1.0, 1.0]:
        raise RequestError(
            f"transfer.views={transfer['views']}: without augmentation (data.crop_scale=[1,1], "
            f"data.flip_probability=0) all views of a picture are alike. Take transfer.views=0."
        )


def _check_find_lr(config: dict[str, Any]) -> None:
    node = config["find_lr"]
    if node is None:
        return
    if not isinstance(node, dict) or node["min_lr"] >= node["max_lr"]:
        raise RequestError(
            f"find_lr={node}: find_lr.min_lr must be below find_lr.max_lr; experiment=find_lr sets "
            f"both."
        )
    if config["resume"] is not None:
        raise RequestError("find_lr begins with the weights of a new run: it takes no resume.")


def _exists(path: str) -> bool:
    return Path(path).expanduser().exists()


def _enabled(value: Any) -> str | None:
    return _one_of(True, False)(value)


def _shown(value: Any) -> str:
    return _word(value) if not isinstance(value, str) else value


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
