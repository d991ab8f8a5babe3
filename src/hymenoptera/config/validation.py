"""Checks a config before any work: its keys and values, their combinations, and files it names."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from hymenoptera.config import schema
from hymenoptera.config.launched import has_launcher
from hymenoptera.config.schema import OPEN_NODES, RULES, TOP_LEVEL, is_below, leaves, shown
from hymenoptera.errors import ConfigError

MUST_EXIST = {  # keys of files and folders that are read, and what else they take
    "data.source": "It takes a URL, a zip file or a folder.",
    "data.root": "",
    "data.file": "",
    "model.weights": "It takes imagenet, none, or the path of a file of weights.",
}
PATHS = (  # keys whose relative paths start in the directory of the command
    *("resume", "data.folder", "data.path", "data.hub_folder", *MUST_EXIST),
    *("transfer.cache_folder", "callbacks.feature_cache.folder", "trainer.default_root_dir"),
)


def prepare(cfg: DictConfig) -> DictConfig:
    """As `check`, for the job itself, which uses the config that is returned."""
    return OmegaConf.create(check(cfg))


def check(cfg: DictConfig, *, files: bool = True) -> dict[str, Any]:
    """Check a config, and if wanted its files, as far as that needs neither torch nor the data.

    Returns:
        The config without Hydra's node, its interpolations resolved, as plain containers; with
        hydra.job.chdir=true its relative paths are made absolute.

    Raises:
        ConfigError: it is invalid; the message has the key, its value and what it must be.
    """
    config, hydra = _resolve(cfg)
    _check_nodes(config)
    _check_values(config)
    in_sweep = hydra is not None and hydra.mode == RunMode.MULTIRUN
    launcher = hydra.launcher._target_ if in_sweep else None
    for reason in _invalid_combinations(config, launcher):
        raise ConfigError(reason)
    folder = Path("" if hydra is None else hydra.runtime.cwd)
    for key, value, path in _paths(config, folder):
        if files and key in MUST_EXIST and not path.exists():
            what = f"{key}={value}: there is no such file or folder. {MUST_EXIST[key]}"
            raise ConfigError(what.strip())
        if hydra is not None and hydra.job.chdir and (key != "data.path" or path.exists()):
            *parents, name = key.split(".")
            node = config
            for parent in parents:
                node = node[parent]
            node[name] = str(path)
    return config


def is_ours(node: Mapping[str, Any]) -> bool:
    """Whether a node names a class of this project, rather than the user's or a library's."""
    return str(node["_target_"]).startswith("hymenoptera.")


def _resolve(cfg: DictConfig) -> tuple[dict[str, Any], Any]:
    """The config in plain containers, and Hydra's node if there is one."""
    before = HydraConfig.instance().cfg
    job = cfg.copy()
    with read_write(job), open_dict(job):
        if "hydra" in job:
            HydraConfig.instance().set_config(job)  # ${hydra:...} looks there
            in_sweep = job.hydra.mode == RunMode.MULTIRUN
            folder = job.hydra.sweep.dir if in_sweep else job.hydra.run.dir
            with read_write(job.hydra):
                job.hydra.runtime.output_dir = str(folder)  # these are known when the job starts
                job.hydra.job.num, job.hydra.job.id = 0, "0"
            HydraConfig.instance().set_config(job)
            del job["hydra"]
    current: Any = HydraConfig.instance().cfg
    hydra = None if current is None else current.hydra
    try:
        config: Any = OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
        return dict(config), hydra
    except OmegaConfBaseException as error:
        key = error.full_key or "the config"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}. Set {key}=VALUE.") from error
    finally:
        HydraConfig.instance().cfg = before


def _check_nodes(config: Mapping[str, Any]) -> None:
    """Check that nothing was removed that is needed, and that what is built names its class."""
    for key in sorted(TOP_LEVEL - config.keys()):
        raise ConfigError(f"{key} is missing: leave out the override that removes it.")
    built = {key: config[key] for key in ("data", "model", "optimizer", "scheduler", "trainer")}
    for group in ("callbacks", "logger"):
        built |= {f"{group}.{name}": node for name, node in config[group].items() if node}
    for key, node in built.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise ConfigError(f"{key}._target_ is missing: it names the class to build.")


def _check_values(config: Mapping[str, Any]) -> None:
    """Check that each key exists and that its value is valid by itself."""
    users_nodes, values = _users_nodes(config), leaves(config)
    # nodes of their own first: data and model take over values of theirs
    for key in sorted(values, key=lambda key: is_below(key, ("data", "model"))):
        if is_below(key, users_nodes):
            continue
        if key in RULES:
            fault = RULES[key].fault(values[key])
            if fault is not None:
                raise ConfigError(f"{key}={shown(values[key])}: {fault}")
        elif key in TOP_LEVEL:
            raise ConfigError(
                f"{key}={shown(values[key])}: set the keys below it, {key}.KEY=VALUE."
            )
        elif not is_below(key, OPEN_NODES):
            raise ConfigError(f"{key}: there is no such key. {schema.nearest_key(key)}".strip())


def _invalid_combinations(config: Mapping[str, Any], launcher: str | None) -> Iterator[str]:
    """What is wrong with values that are valid by themselves; the launcher is that of a sweep."""
    data, transfer, loss = config["data"], config["transfer"], config["loss"]
    folds, fold = data.get("folds"), data.get("fold")
    if fold not in ([None] if folds is None else range(folds)):
        count = folds or 5
        yield (
            f"data.fold={shown(fold)} and data.folds={shown(folds)}: data.folds={count} makes the "
            f"folds 0 to {count - 1}, and one of them validates.\n"
            f"A sweep over all of them: -m data.folds={count} 'data.fold=range({count})'"
        )
    epochs = transfer["unfreeze_epochs"]
    last = max(epochs if isinstance(epochs, list) else [epochs], default=1)
    max_epochs = config["trainer"].get("max_epochs") or -1
    if last > max_epochs > 0:
        yield (
            f"transfer.unfreeze_epochs={shown(epochs)}: epoch {last} is past the last one, "
            f"trainer.max_epochs={max_epochs}."
        )
    backbone = str(config["model"].get("backbone"))
    if backbone.startswith("timm/") and find_spec("timm") is None:
        yield f"model.backbone={backbone} needs the extra timm: pip install 'hymenoptera[timm]'."
    if data.get("sampler") == "balanced" and loss["class_weights"] == "balanced":
        yield "data.sampler=balanced and loss.class_weights=balanced do the same twice: set one."
    is_drawn = str(data.get("_target_")).endswith("DrawnDataModule")  # so many are drawn
    both = data.get("train_fraction", 1) != 1 and data.get("train_per_class")
    if both and is_ours(data) and not is_drawn:
        yield "data.train_fraction and data.train_per_class: set one of them."
    mixes = loss["mixup"] or loss["cutmix"]
    if mixes and epochs == [] and transfer["cache"] and transfer["views"] is not None:
        yield "loss.mixup and loss.cutmix mix no cached features: set transfer.cache=false."
    trainer, find_lr = config["trainer"], config["find_lr"]
    precision, devices = str(trainer.get("precision")), shown(trainer.get("devices", 1))
    nodes = trainer.get("num_nodes") or 1
    count = int(devices) if devices.isdecimal() else len(devices.strip("[],").split(","))
    if trainer.get("accelerator") == "cpu" and precision in ("16-mixed", "16"):
        yield "trainer.precision=16-mixed needs a GPU: on a CPU set 32-true or bf16-mixed."
    if nodes > 1 and not has_launcher():
        yield (
            f"trainer.num_nodes={nodes}: start it on each machine with torchrun --nnodes={nodes} "
            f"or srun, or with MASTER_ADDR and NODE_RANK in the environment."
        )
    if count * nodes > 1 and find_lr:
        yield "find_lr is for one device: leave out trainer.devices."
    if find_lr and (find_lr["min_lr"] >= find_lr["max_lr"] or config["resume"] is not None):
        yield "find_lr needs a min_lr below its max_lr, and starts a new run: leave out resume."
    spawns = str(trainer.get("strategy")).startswith(("ddp_spawn", "ddp_fork", "ddp_notebook"))
    is_one = count * nodes == 1 and devices not in ("auto", "-1")
    if launcher and not is_one and not spawns and "SlurmLauncher" not in launcher:
        yield (
            f"trainer.devices={devices} in a sweep: each process that Lightning starts would run "
            f"the whole sweep.\nSet trainer.strategy=ddp_spawn, or give each job one device."
        )


def _users_nodes(config: Mapping[str, Any]) -> list[str]:
    """Nodes whose class is the user's, and so is the meaning of their keys."""
    return [key for key in ("data", "model") if not is_ours(config[key])]


def _paths(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Paths in a config: the key, the value, and what it names where the command was started."""
    values, others = leaves(config), _users_nodes(config)
    if config["resume"] is not None or values.get("model.weights") in ("imagenet", "none"):
        others.append("model.weights")  # no file, or not read again
    for key in PATHS:
        value = values.get(key)
        if isinstance(value, str) and "://" not in value and not is_below(key, others):
            yield key, value, folder / Path(value).expanduser()
