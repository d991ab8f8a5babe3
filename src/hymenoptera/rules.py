"""What the value of each key may be: a rule a key, and the words for a value that breaks it."""

import math
import re
from collections.abc import Callable
from typing import Any

from hymenoptera.errors import nearest

Rule = Callable[[Any], str | None]
"""From a value to what it must be, where it is not; None where it is well."""


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
        return " or ".join([f"a whole number of {low} or more", *map(shown, words)])

    return rule


def _one_of(*words: Any) -> Rule:
    def rule(value: Any) -> str | None:
        if any(value == word and type(value) is type(word) for word in words):
            return None
        hint = nearest(str(value), [shown(w) for w in words])
        return f"one of {', '.join(map(shown, words))}. {hint}".removesuffix(".")

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
    if isinstance(value, list):
        indices = [i for i in value if isinstance(i, int) and not isinstance(i, bool) and i >= 0]
        good = value and len(set(indices)) == len(value)
    else:
        good = value == -1 or _integer(1, "auto")(value) is None
    return None if good else "auto, a number of devices, -1 for all, or indices such as [0,1]"


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
_SWITCH = _one_of(True, False)
_TARGET = _optional(_text)

RULES: dict[str, Rule] = {
    "compile": _one_of(False, True, "cuda_graphs"),
    "channels_last": _one_of("auto", True, False),
    "find_lr": _optional(_text),
    "find_lr.min_lr": _number(0, above=True),
    "find_lr.max_lr": _number(0, above=True),
    "find_lr.steps": _integer(20),
    "loss.label_smoothing": lambda v: _FRACTION(v) if v != 1 else "below 1",
    "loss.mixup": _number(0),
    "loss.cutmix": _number(0),
    "seed": _integer(0),
    "resume": _optional(_text),
    "out_of_memory": _one_of("fail", "halve"),
    "report": _SWITCH,
    "sweep.name": _name,
    "sweep.search": _one_of("grid", "optuna"),
    "sweep.processes": _integer(1, "auto", None),
    "sweep.trials": _optional(_integer(1)),
    "sweep.pruning": _SWITCH,
    "sweep.cluster": _one_of(None),
    "sweep.cluster.executor": _one_of("slurm", "local"),
    "sweep.cluster.timeout_min": _integer(1),
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
    "data.map_from": _optional(_integer(1)),
    "data.index_folder": _text,
    "data.contents": _SWITCH,
    "data.shards_at_once": _integer(1),
    "data.cache_gb": _number(0, above=True),
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
    "data.cache": _one_of("auto", "none", "ram", "disk"),
    "data.cache_size": _integer(32, "auto"),
    "data.cache_folder": _text,
    "data.augment_on": _one_of("auto", "cpu", "device"),
    "data.seed": _integer(0),
    "model._target_": _TARGET,
    "model.name": _one_of(*BACKBONES),
    "model.weights": _text,
    "model.image_size": _optional(_integer(32)),
    "transfer._target_": _TARGET,
    "transfer.unfreeze_epochs": _unfreeze_epochs,
    "transfer.lr_decay": _number(0, 1, above=True),
    "transfer.views": _optional(_integer(0)),
    "transfer.cache": _SWITCH,
    "transfer.cache_folder": _text,
    "optimizer.lr": _number(0, above=True),
    "optimizer.weight_decay": _number(0),
    "optimizer.momentum": _FRACTION,
    "optimizer.nesterov": _SWITCH,
    "scheduler.warmup_fraction": _FRACTION,
    "scheduler.step_epochs": _integer(1),
    "scheduler.gamma": _number(0, 1, above=True),
    "trainer.max_epochs": _integer(1),
    "trainer.accelerator": _one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.devices": _devices,
    "trainer.num_nodes": _integer(1, "auto"),
    "trainer.strategy": _one_of("auto", "ddp", "fsdp"),
    "trainer.sync_batchnorm": _SWITCH,
    "trainer.scale_lr": _SWITCH,
    "trainer.precision": _one_of(
        "auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", 32
    ),
    "trainer.gradient_clip_val": _optional(_number(0, above=True)),
    "trainer.check_val_every_n_epoch": _one_of(1),  # an epoch's row has both parts
    "trainer.fast_dev_run": _one_of(False),  # leaves no checkpoint; trainer=debug does
    "trainer.limit_train_batches": _number(0, above=True),
    "trainer.limit_val_batches": _number(0, above=True),
    "callbacks.last_checkpoint.every_s": _number(0),
    "callbacks.last_checkpoint.within_epoch_s": _optional(_number(0)),
    "callbacks.early_stopping.patience": _integer(0),
    "callbacks.augmented_pictures.count": _integer(1),
    "callbacks.embeddings.most": _integer(1),
    "callbacks.embeddings.side_px": _integer(8),
    "callbacks.grad_cam.wrong": _integer(0),
    "callbacks.grad_cam.right": _integer(0),
}


NEEDED = (  # what the code reads, and an override may have removed or replaced
    *("seed", "resume", "report", "compile", "channels_last", "find_lr", "out_of_memory", "sweep"),
    *("loss.label_smoothing", "message.begin", "message.end", "logger"),
    *("data._target_", "data.folds", "data.fold", "data.batch_size", "data.eval_batch_size"),
    *("data.cache", "data.augment_on"),
    *("model._target_", "model.name", "model.weights"),
    *("transfer._target_", "transfer.unfreeze_epochs", "transfer.views", "transfer.cache"),
    *("optimizer._target_", "optimizer.lr", "scheduler._target_"),
    *("trainer._target_", "trainer.max_epochs", "trainer.accelerator", "trainer.devices"),
    *("trainer.precision", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm"),
    *("trainer.scale_lr", "callbacks.best_checkpoint", "callbacks.last_checkpoint"),
)


def rule_of(key: str) -> Rule | None:
    """The rule of a dotted key; None where conf/ has no such key."""
    return RULES.get(key, _SWITCH if key.endswith(".enabled") else None)


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
