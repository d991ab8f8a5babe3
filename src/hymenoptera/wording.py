"""Errors of Hydra, OmegaConf and the disk, in words that a user can act on."""

import traceback
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hymenoptera.config import flatten
from hymenoptera.errors import HymenopteraError, RequestError, RunError, in_one_line, nearest


def is_request(error: Exception) -> bool:
    """Whether an error is of what was asked for, and not of the code."""
    if isinstance(error, (HymenopteraError, HydraException, OmegaConfBaseException, OSError)):
        return True
    # Hydra raises ValueError and others
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return not {"hydra", "omegaconf"}.isdisjoint(Path(frame.f_code.co_filename).parts)


def in_words(error: Exception) -> HymenopteraError:
    """Put an error of Hydra or OmegaConf into one to three lines, with the nearest valid words."""
    if isinstance(error, HymenopteraError):
        return error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        hint = nearest(option, error.options or ())
        return RequestError(f"{group}={option}: there is no such option of {group}. {hint}")
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        root = cause.parent_node._get_root()
        full_key = cause.full_key or str(cause.key)
        return RequestError(f"{full_key}: there is no such key. {_nearest_key(full_key, root)}")
    if isinstance(error, OverrideParseException):
        return RequestError(
            f"{error.override}: this cannot be read as KEY=VALUE. Quote values with spaces or "
            f"signs: 'key=\"a value\"'."
        )
    if isinstance(error, OSError):
        return RequestError(f"{in_one_line(error)}. Nothing was written there.")
    lines = [line for line in str(error).splitlines() if line.strip()]
    return RequestError("\n".join(lines[:3]))


def disk_error(error: OSError, folder: Path) -> HymenopteraError:
    """A file or folder that cannot be read or written, in words."""
    what = in_one_line(error)
    if not folder.exists():  # Hydra had made it
        return RunError(f"The run failed: {what}. Its folder {folder} is gone.")
    if not (folder / "checkpoints").exists():
        return RequestError(f"{what}.")
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        return RunError(f"The run failed: {what}.")
    return RunError(
        f"The run failed: {what}.\nWhen that is mended, it goes on with: "
        f"python train.py resume={folder}"
    )


def _nearest_key(key: str, root: Any) -> str:
    """Nearest valid keys: by the whole name, or by the last part of it."""
    container: dict[str, Any] = OmegaConf.to_container(root, resolve=False)  # type: ignore[assignment]
    container.pop("hydra", None)
    leaves = [k for k in flatten(container) if "_target_" not in k]
    groups = [k for k, value in container.items() if isinstance(value, dict)]
    last = key.rpartition(".")[2]
    same = [k for k in leaves if k.rpartition(".")[2] == last]
    if same:
        return f"Did you mean {' or '.join(same[:3])}?"
    parts = {k.rpartition(".")[2]: k for k in leaves}
    hint = nearest(key, [*leaves, *groups])
    if hint.startswith("Valid"):
        by_part = nearest(last, parts)
        hint = by_part if by_part.startswith("Did") else nearest(key, groups)
    return hint
