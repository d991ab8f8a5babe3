"""Errors of Hydra, OmegaConf, Lightning and the disk, in words that a user can act on."""

import traceback
from collections.abc import Iterable
from pathlib import Path

import hydra
import omegaconf
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from hymenoptera.config.schema import RULES, TOP_LEVEL
from hymenoptera.errors import ConfigError, HymenopteraError, RunError, in_one_line, nearest

EXPLAINED = (HymenopteraError, HydraException, OmegaConfBaseException, YAMLError, OSError)
LIBRARIES = tuple(Path(str(module.__file__)).parent for module in (hydra, omegaconf))


def is_explained(error: Exception) -> bool:
    """Whether an error is the user's to put right, rather than a fault of the code."""
    if isinstance(error, EXPLAINED) or type(error).__name__ == "MisconfigurationException":
        return True  # the last is Lightning's
    # Hydra raises ValueError and others too
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return any(library in Path(frame.f_code.co_filename).parents for library in LIBRARIES)


def explained(error: Exception, folder: Path | None = None) -> HymenopteraError:
    """Put an error for which `is_explained` holds into one to three lines; folder: of the run."""
    if isinstance(error, HymenopteraError):
        return error
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        hint = nearest(option, error.options)
        return ConfigError(f"{group}={option}: there is no such option of {group}. {hint}".strip())
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        key = cause.full_key or str(cause.key)
        hint = nearest_key(key, map(str, cause.parent_node))
        return ConfigError(f"{key}: there is no such key. {hint}".strip())
    if isinstance(error, OverrideParseException):
        advice = "Quote values with spaces or signs: 'key=\"a value\"'."
        return ConfigError(f"{error.override}: this cannot be read as KEY=VALUE. {advice}")
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        if folder is None or not (folder / "checkpoints" / "last.ckpt").is_file():
            return ConfigError(f"{in_one_line(error)}.")
        advice = f"Continue it with: python train.py resume={folder}"
        return RunError(f"The run failed: {in_one_line(error)}.\n{advice}")
    return ConfigError("\n".join([line for line in str(error).splitlines() if line.strip()][:3]))


def nearest_key(key: str, siblings: Iterable[str] = ()) -> str:
    """Keys that one that does not exist may stand for, by its last part or by all of it."""
    prefix, dot, last = key.rpartition(".")
    same = sorted(one for one in RULES if one.endswith(f".{last}"))
    if same:
        return f"Did you mean {' or '.join(same[:3])}?"
    return nearest(key, [*(RULES if dot else TOP_LEVEL), *(f"{prefix}{dot}{s}" for s in siblings)])
