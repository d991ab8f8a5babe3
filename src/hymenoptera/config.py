"""Checks a config before any work, and builds objects from it; the one place that instantiates.

`check` knows every key that conf/ offers and what its value may be. It imports neither torch nor
Lightning, so that a wrong request is answered at once.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hymenoptera.errors import HymenopteraError, RequestError, nearest
from hymenoptera.ranks.layout import may_share, wants_several
from hymenoptera.rules import NEEDED, RULES, rule_of, shown
from hymenoptera.targets import check_targets

OPEN_NODES = ("optimizer", "scheduler", "trainer", "callbacks", "logger", "sweep.cluster")
"""Nodes that are handed to a class as they are: +trainer.OPTION=VALUE is the user's business."""


def check(cfg: DictConfig, *, files: bool = True) -> dict[str, Any]:
    """Refuse a config that cannot work, as far as that can be told without any work.

    Args:
        cfg: the composed config, without Hydra's own node.
        files: whether to look for those that it names; without, every machine says the same.

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
        _check_together(config, files)
    except (LookupError, TypeError, AttributeError) as error:
        raise RequestError(
            f"The config is not whole: {error}. Leave out the override that removes or replaces "
            f"a part of it."
        ) from error
    return config


def _check_together(config: dict[str, Any], files: bool) -> None:
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
    _check_feed(config["data"])
    if files:
        _check_files(config)
    _check_transfer(config)
    _check_find_lr(config)
    _check_processes(config)
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
        rule = rule_of(key)
        if rule is None:
            if not f"{key}.".startswith(tuple(f"{node}." for node in OPEN_NODES)):
                raise RequestError(f"{key}: there is no such key. {nearest(key, RULES)}")
            continue
        wanted = rule(value)
        if wanted is not None:
            raise RequestError(f"{key}={shown(value)}: it must be {wanted}.")


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
            f"data.fold={shown(fold)}: data.folds={folds} makes the folds 0 to {folds - 1}, and "
            f"one of them validates.\nA sweep over all of them: -m data.folds={folds} "
            f"'data.fold=range({folds})'"
        )


def _check_feed(data: dict[str, Any]) -> None:
    """Refuse crops on the device of pictures that are not there."""
    if data["augment_on"] == "device" and data["cache"] == "none":
        raise RequestError(
            "data.augment_on=device: it crops decoded pictures, and data.cache=none keeps none. "
            "Take data.cache=ram or data.cache=disk."
        )


def _check_files(config: dict[str, Any]) -> None:
    """Refuse paths that lead nowhere."""
    data, weights = config["data"], config["model"]["weights"]
    if "source" in data and not is_url(data["source"]) and not _exists(data["source"]):
        raise RequestError(
            f"data.source={data['source']}: there is no such file or folder. "
            f"It takes a URL, a zip file or a folder."
        )
    check_extra(data)
    if "root" in data and not is_url(data["root"]) and not _exists(data["root"]):
        raise RequestError(f"data.root={data['root']}: there is no such folder.")
    if config["resume"] is not None:  # all weights come from its checkpoint
        return
    if weights not in ("imagenet", "none") and not Path(weights).expanduser().is_file():
        raise RequestError(
            f"model.weights={weights}: there is no such file. "
            f"It takes imagenet, none, or the path of a state dict."
        )


def check_extra(data: Mapping[str, Any]) -> None:
    """Refuse shards where what reads them is not installed.

    Raises:
        RequestError: naming the extra.
    """
    if "shards_at_once" in data and find_spec("webdataset") is None:
        raise RequestError("data=stream needs WebDataset: pip install -e '.[stream]'")


def _check_transfer(config: dict[str, Any]) -> None:
    """Refuse what transfer, data and trainer make impossible together."""
    transfer, data, max_epochs = config["transfer"], config["data"], config["trainer"]["max_epochs"]
    epochs = transfer["unfreeze_epochs"]
    last = max(epochs if isinstance(epochs, list) else [epochs], default=1)
    if last > max_epochs:
        raise RequestError(
            f"transfer.unfreeze_epochs={shown(epochs)}: epoch {last} is past the last one, "
            f"trainer.max_epochs={max_epochs}."
        )
    for key in ("mixup", "cutmix"):
        if config["loss"][key] and transfer["cache"] and transfer["views"] is not None:
            raise RequestError(
                f"loss.{key}={config['loss'][key]}: pictures are mixed, and transfer.cache=true "
                f"trains on features in their place. Take transfer.cache=false."
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


def _check_processes(config: dict[str, Any]) -> None:
    """Refuse what several processes cannot do, or not on that kind of device."""
    trainer = config["trainer"]
    devices, accelerator = trainer["devices"], trainer["accelerator"]
    if trainer["strategy"] == "fsdp" and accelerator in ("cpu", "mps"):
        raise RequestError(
            f"trainer.strategy=fsdp shards a model over CUDA GPUs, and "
            f"trainer.accelerator={accelerator} has none: take trainer=ddp."
        )
    if trainer["sync_batchnorm"] and accelerator in ("cpu", "mps"):
        raise RequestError(
            "trainer.sync_batchnorm=true needs CUDA GPUs: torch has it nowhere else."
        )
    if accelerator == "mps" and wants_several(trainer):
        raise RequestError(f"trainer.devices={shown(devices)}: Apple's GPU is a single device.")
    if not may_share(trainer, os.environ):
        return
    if config["find_lr"] is not None:
        raise RequestError(
            "The search for a rate runs on one device: leave out trainer=ddp and trainer.devices. "
            "For N processes, take what it finds for data.batch_size times N."
        )
    if config["out_of_memory"] == "halve":
        raise RequestError(
            "out_of_memory=halve is for a run on one device: of several, those that have memory "
            "left would wait for the others. Take a smaller data.batch_size."
        )


def _exists(path: str) -> bool:
    return Path(path).expanduser().exists()
