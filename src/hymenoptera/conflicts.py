"""What the keys of a config make impossible together, and what they name that is not there."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hymenoptera.errors import RequestError
from hymenoptera.ranks.layout import may_share, wants_several
from hymenoptera.rules import NEEDED, shown


def check_together(config: dict[str, Any], *, files: bool) -> None:
    """Refuse what is missing, and what keys make impossible together.

    Args:
        config: composed, in plain containers; each value is what its rule allows.
        files: whether to look for those that it names.

    Raises:
        RequestError: naming the keys and their values.
    """
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
    if "source" in data and not _is_url(data["source"]) and not _exists(data["source"]):
        raise RequestError(
            f"data.source={data['source']}: there is no such file or folder. "
            f"It takes a URL, a zip file or a folder."
        )
    check_extra(data)
    if "root" in data and not _is_url(data["root"]) and not _exists(data["root"]):
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


def _is_url(source: str) -> bool:
    """Whether a data source is an address rather than a path."""
    return "://" in source


def _exists(path: str) -> bool:
    return Path(path).expanduser().exists()
