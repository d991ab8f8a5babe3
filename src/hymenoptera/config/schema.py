"""What the value of each key may be: kinds of values, and the keys that are of each kind."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hymenoptera.errors import nearest


@dataclass(frozen=True)
class Kind:
    """What a value may be: one of some words, or what a check lets through."""

    wanted: str = ""  # what the check lets through; empty if only the words are valid
    check: Callable[[Any], bool] = lambda value: False
    words: tuple[Any, ...] = ()

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value; None if it is valid."""
        if any(value == word and type(value) is type(word) for word in self.words):
            return None
        if self.check(value):
            return None
        texts = [shown(word) for word in self.words]
        if not self.wanted:
            return f"there is no such value. {nearest(shown(value), texts)}"
        return f"it must be {' or '.join([self.wanted, *texts])}."


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace(" ", "") if isinstance(value, list | Mapping) else str(value)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value < 2**32


def _number(limits: str, check: Callable[[float], bool]) -> Kind:
    return Kind(f"a number {limits}", lambda value: _is_number(value) and check(value))


def _whole(low: int, *words: Any) -> Kind:
    wanted = f"a whole number of {low} or more"
    return Kind(wanted, lambda value: _is_whole(value) and value >= low, words)


def _pattern(wanted: str, regex: str) -> Kind:
    return Kind(wanted, lambda value: re.fullmatch(regex, shown(value)) is not None)


def _one_of(*words: Any) -> Kind:
    return Kind(words=words)


def _is_crop_scale(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    return is_pair and 0 < value[0] <= value[1] <= 1


def _is_unfreeze_epochs(value: Any) -> bool:
    epochs = value if isinstance(value, list) else [value]
    return all(_is_whole(epoch) and epoch >= 1 for epoch in epochs) and epochs == sorted(epochs)


def _by_key(*table: tuple[Kind, str]) -> dict[str, Kind]:
    return {key: kind for kind, keys in table for key in keys.split()}


# of torchvision, which takes seconds to import
BACKBONES = """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161
    densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l
    efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75
    mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf
    regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf
    regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf
    regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d
    resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
    shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s
    swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
""".split()  # noqa: SIM905 # 80 names
ANYTHING = Kind(check=lambda value: True)  # the class that takes the value checks it
BACKBONE = Kind(check=lambda value: str(value).startswith("timm/"), words=tuple(BACKBONES))
SWITCH = _one_of(True, False)
SWITCH_OR_NULL = _one_of(True, False, None)
TEXT = Kind("a text that is not empty", lambda value: isinstance(value, str) and value.strip() > "")
TEXT_OR_NULL = Kind(TEXT.wanted, TEXT.check, (None,))
POSITIVE = _number("above 0", lambda value: value > 0)
NOT_NEGATIVE = _number("of 0 or more", lambda value: value >= 0)
FRACTION = _number("from 0 to 1", lambda value: 0 <= value <= 1)
SHARE = _number("above 0 and 1 or less", lambda value: 0 < value <= 1)
PART = _number("of 0 or more and below 1", lambda value: 0 <= value < 1)
CROP_SCALE = Kind(
    "two numbers above 0 and 1 or less, the smaller one first, such as [0.08,1.0]", _is_crop_scale
)
CLASS_WEIGHTS = Kind(
    "null, balanced, or a list of numbers above 0, one a class: [1,2.5]",
    lambda value: isinstance(value, list) and all(_is_number(w) and w > 0 for w in value),
    ("balanced", None),
)
UNFREEZE_EPOCHS = Kind(
    "an epoch from 1 for all stages, or a list of them for the topmost first: [1,3]",
    _is_unfreeze_epochs,
)
DEVICES = _pattern(
    "auto, a number of devices, -1 for all, or indices such as [0,1]",
    r"auto|-1|[1-9]\d*|\d+(,\d+)*,|\d+(,\d+)+|\[\d+(,\d+)*]",
)

TRAINER = _by_key(  # every option that pytorch_lightning.Trainer documents; it checks many itself
    (_one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu"), "accelerator"),
    (DEVICES, "devices"),
    (_whole(1, -1, None), "max_epochs"),
    (_whole(1, -1), "max_steps"),
    (_whole(1, None), "num_nodes accumulate_grad_batches check_val_every_n_epoch"),
    (_whole(0, None), "min_epochs min_steps log_every_n_steps"),
    (_whole(0, -1, None), "num_sanity_val_steps"),
    (_whole(0), "reload_dataloaders_every_n_epochs"),
    (Kind(NOT_NEGATIVE.wanted, NOT_NEGATIVE.check, (None,)), "gradient_clip_val"),
    (SWITCH_OR_NULL, "enable_checkpointing enable_progress_bar enable_model_summary benchmark"),
    (SWITCH_OR_NULL, "enable_autolog_hparams inference_mode barebones sync_batchnorm"),
    (SWITCH_OR_NULL, "use_distributed_sampler detect_anomaly"),
    (_one_of(True, False, "warn", None), "deterministic"),
    (ANYTHING, "strategy precision logger callbacks plugins profiler model_registry max_time"),
    (ANYTHING, "fast_dev_run limit_train_batches limit_val_batches limit_test_batches"),
    (ANYTHING, "limit_predict_batches overfit_batches val_check_interval default_root_dir"),
    (ANYTHING, "gradient_clip_algorithm"),
)
RULES = _by_key(
    (SWITCH, "report transfer.cache sweep.pruning optimizer.nesterov"),
    (_one_of(False, True, "cuda_graphs"), "compile model.compile"),
    (_one_of("auto", True, False), "channels_last model.channels_last"),
    (_one_of("auto", True, False), "transfer.bf16 model.frozen_bf16"),
    (CLASS_WEIGHTS, "loss.class_weights model.class_weights"),
    (_one_of("shuffle", "balanced"), "data.sampler"),
    (_one_of("grid", "optuna"), "sweep.search"),
    (_one_of("fail", "skip"), "data.on_error"),
    (_one_of("auto", "none", "ram"), "data.cache"),
    (_one_of("auto", "cpu", "device"), "data.augment_on"),
    (BACKBONE, "model.backbone"),
    (_one_of(None), "find_lr"),
    (TEXT, "data._target_ data.source data.folder data.file data.path data.hub_folder"),
    (TEXT, "data.image_column data.label_column"),
    (TEXT, "model._target_ model.weights optimizer._target_ trainer._target_"),
    (TEXT, "transfer.cache_folder"),
    (TEXT_OR_NULL, "resume message.begin message.end data.root data.name data.revision"),
    (TEXT_OR_NULL, "data.split_column data.train_split data.val_split data.test_split"),
    (TEXT_OR_NULL, "scheduler._target_"),
    (_pattern("a folder's name", r"\w[\w.-]*"), "sweep.name"),
    (_whole(0), "seed data.seed model.seed data.split_seed data.drawing_seed"),
    (_whole(0, None), "transfer.views data.views data.fold"),
    (_whole(0, "auto"), "data.num_workers"),
    (_whole(1), "data.batch_size data.eval_batch_size data.val_per_class"),
    (_whole(1), "scheduler.step_size"),
    (_whole(1, None), "data.train_per_class sweep.trials"),
    (_whole(2, None), "data.folds"),
    (_whole(20), "find_lr.steps"),
    (_whole(32), "data.size_px"),
    (_whole(32, "auto"), "data.cache_size"),
    (_whole(32, None), "model.image_size"),
    (POSITIVE, "optimizer.lr find_lr.min_lr find_lr.max_lr"),
    (NOT_NEGATIVE, "loss.mixup model.mixup loss.cutmix model.cutmix optimizer.weight_decay"),
    (FRACTION, "data.flip_probability optimizer.momentum scheduler.warmup_fraction"),
    (FRACTION, "callbacks.calibration.unfamiliar_share"),
    (SHARE, "data.train_fraction transfer.lr_decay model.lr_decay scheduler.gamma"),
    (PART, "loss.label_smoothing model.label_smoothing data.test_fraction"),
    (_number("above 0 and below 1", lambda value: 0 < value < 1), "data.val_fraction"),
    (CROP_SCALE, "data.crop_scale"),
    (UNFREEZE_EPOCHS, "transfer.unfreeze_epochs model.unfreeze_epochs"),
) | {f"trainer.{name}": kind for name, kind in TRAINER.items()}

OPEN_NODES = (  # may have any keys: those of the class that they name
    *("optimizer", "scheduler", "callbacks", "logger"),
    *("model.optimizer", "model.scheduler", "model.scheduler_config"),
    *(f"trainer.{name}" for name in TRAINER),
)
TOP_LEVEL = {key.split(".")[0] for key in RULES} | {"callbacks", "logger"}


HABITS = {  # what other libraries call a key: Lightning, fastai, ultralytics, timm, transformers
    "ckpt_path": "resume",
    "epochs num_epochs num_train_epochs": "trainer.max_epochs",
    "steps max_iter": "trainer.max_steps",
    "lr learning_rate lr0 base_lr": "optimizer.lr",
    "wd weight_decay": "optimizer.weight_decay",
    "batch batch_size bs per_device_train_batch_size": "data.batch_size",
    "workers num_workers": "data.num_workers",
    "lr_scheduler sched": "scheduler",
    "opt": "optimizer",
    "arch backbone model_name": "model.backbone",
    "pretrained weights": "model.weights",
    "imgsz img_size image_size input_size": "model.image_size",
    "data_dir dataset root path": "data.root",
    "device accelerator": "trainer.accelerator",
    "gpus devices": "trainer.devices",
    "amp fp16 bf16 half precision": "trainer.precision",
    "freeze unfreeze": "transfer",
    "patience": "callbacks.early_stopping.patience",
    "name project": "hydra.run.dir",
    "random_state random_seed": "seed",
    "smoothing label_smoothing": "loss.label_smoothing",
}


def leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a config by their dotted keys; a list is a value."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        is_node = isinstance(value, Mapping)
        values |= leaves(value, f"{prefix}{name}.") if is_node else {f"{prefix}{name}": value}
    return values


def nearest_key(key: str, siblings: Iterable[str] = ()) -> str:
    """Keys that one that does not exist may stand for, by its last part or by all of it."""
    prefix, dot, last = key.rpartition(".")
    for words, wanted in HABITS.items():
        if not dot and key in words.split():
            return f"Did you mean {wanted}?"
    same = sorted(one for one in RULES if one.endswith(f".{last}"))
    if same:
        return f"Did you mean {' or '.join(same[:3])}?"
    return nearest(key, [*(RULES if dot else TOP_LEVEL), *(f"{prefix}{dot}{s}" for s in siblings)])


def is_below(key: str, nodes: Iterable[str]) -> bool:
    """Whether a dotted key is one of some nodes, or in one."""
    return f"{key}.".startswith(tuple(f"{node}." for node in nodes))
