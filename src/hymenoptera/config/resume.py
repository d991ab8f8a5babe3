"""Continues a run: its overrides and folder, and what may be overridden when it is resumed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from hymenoptera.config.schema import is_below, leaves, shown
from hymenoptera.errors import ConfigError
from hymenoptera.files import write_file

CHANGEABLE = (  # a resumed run may have these otherwise; all others decide what was trained so far
    *("trainer", "callbacks", "logger", "report", "message", "compile"),
    *("channels_last", "find_lr", "resume", "sweep", "model.compile", "model.channels_last"),
    *("data.source", "data.folder", "data.root", "data.file", "data.path", "data.hub_folder"),
    *("data.num_workers", "data.eval_batch_size", "data.on_error", "data.augment_on"),
    *("data.cache", "data.cache_size"),
    *("transfer.cache", "transfer.cache_folder"),
)


def with_resumed(options: list[str], overrides: list[str]) -> tuple[list[str], list[str]]:
    """With resume=RUN among the overrides, add that run's own overrides, folder and options."""
    given = [_unquoted(o.removeprefix("resume=")) for o in overrides if o.startswith("resume=")]
    if not given or given[-1] in ("null", "") or {"-m", "--multirun"} & set(options):
        return options, overrides  # the sweeper says that a sweep is not resumed so
    path = Path(given[-1]).expanduser()
    folder = path if path.is_dir() else path.absolute().parent.parent
    checkpoint = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not checkpoint.is_file():
        raise ConfigError(
            f"resume={given[-1]}: there is nothing to continue. It takes a run folder with "
            f"checkpoints/last.ckpt, which is there from the first epoch's end, or a .ckpt file."
        )
    overrides = [override for override in overrides if not override.startswith("resume=")]
    resume, place = f"resume={quoted(path)}", f"hydra.run.dir={quoted(folder)}"
    previous = folder / ".hydra" / "overrides.yaml"
    # a new run from a checkpoint that was moved, or a process of a run, which has them all
    if not previous.is_file() or place in overrides:
        return options, [*overrides, resume]
    if any(override.startswith("hydra.run.dir=") for override in overrides):
        raise ConfigError(f"resume={path} continues in that folder: leave out hydra.run.dir.")
    loaded: Any = OmegaConf.to_container(OmegaConf.load(previous))  # ${...} as they are
    before = [o for o in map(str, loaded) if _key(o).split(".")[0] not in ("resume", "sweep")]
    if not any(option.startswith(("--config-d", "-cd")) for option in options):
        options = [*_config_dir(folder), *options]
    return options, [*_merged([*before, *overrides]), resume, place, "hydra.output_subdir=null"]


def remember(folder: Path, overrides: Sequence[str]) -> None:
    """Keep the overrides of a run that has begun, for its next resume; it may be one itself."""
    path = folder / ".hydra" / "overrides.yaml"
    if path.parent.is_dir():  # the user may have switched off Hydra's own files
        kept = _merged([override for override in overrides if _key(override) != "resume"])
        write_file(path, OmegaConf.to_yaml(OmegaConf.create(kept)))


def check_resume(previous: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise ConfigError where a config changes what training under the previous one depends on."""
    before, now = leaves(previous), leaves(config)
    # nodes of their own first: data and model take over values of theirs
    for key in sorted({**before, **now}, key=lambda key: is_below(key, ("data", "model"))):
        if before.get(key) == now.get(key) or is_below(key, CHANGEABLE):
            continue
        was, wanted = shown(before.get(key)), shown(now.get(key))
        path = Path(str(config.get("resume")))
        best = path if path.suffix == ".ckpt" else path / "checkpoints" / "best.ckpt"
        raise ConfigError(
            f"{key}={wanted}: the run was trained with {key}={was}, and resume cannot change that. "
            f"Leave it out.\nFor a new run that starts from its weights: model.weights={best} "
            f"{key}={wanted}"
        )


def _config_dir(folder: Path) -> list[str]:
    """The `--config-dir` that a run was started with."""
    path = folder / ".hydra" / "hydra.yaml"
    sources = OmegaConf.load(path).hydra.runtime.config_sources if path.is_file() else []
    return [f"--config-dir={s.path}" for s in sources if s.provider == "command-line"]


def _merged(overrides: list[str]) -> list[str]:
    """Without those that a later one of the same key replaces."""
    last = {_key(override): number for number, override in enumerate(overrides)}
    added = {_key(override) for override in overrides if override.startswith("+")}
    merged = [o for number, o in enumerate(overrides) if last[_key(o)] == number]
    return [o if _key(o) not in added or o[0] in "+~" else f"++{o}" for o in merged]


def _key(override: str) -> str:
    """The key of an override; a deletion has a key of its own."""
    return override.partition("=")[0].lstrip("+")


def _unquoted(text: str) -> str:
    """A value without the quotes that Hydra needs around a name with =, and this does not."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].replace(f"\\{text[0]}", text[0]) if is_quoted else text


def quoted(path: Path) -> str:
    """A path as a value that Hydra reads, whatever its name."""
    return QuotedString(text=str(path), quote=Quote.single).with_quotes()
