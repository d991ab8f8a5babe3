"""Files of weights: state dicts in safetensors or in torch's own format, never code."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from hymenoptera.errors import ConfigError
from hymenoptera.files import file_identity, file_sha256


def load_without_code(path: Path) -> Any:
    """Load a file onto the CPU if it holds nothing but tensors and plain containers.

    Raises:
        ValueError: the file is damaged, of another format, or would have to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the readers raise almost anything
        raise ValueError(f"{path} cannot be read") from error


def not_finite(state: dict[str, Any]) -> str:
    """The name of the first tensor with a NaN or an infinity in it; "" if all are finite."""
    tensors = ((k, v) for k, v in state.items() if isinstance(v, Tensor) and v.is_floating_point())
    return next((str(name) for name, tensor in tensors if not tensor.isfinite().all()), "")


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read weights without running any code that the file may hold.

    Args:
        path: a `.safetensors` file, one written by `torch.save`, or a Lightning checkpoint.

    Returns:
        The state dict with its tensors on the CPU, and an id for the record: the file's name and
        the first 16 digits of its SHA-256.

    Raises:
        ConfigError: there is no such file, it holds no state dict, or not all of it is finite.
    """
    if not path.is_file():
        raise ConfigError(f"model.weights={path}: there is no such file.")
    return _read_state_dict(path, file_identity(path))


@lru_cache(maxsize=1)  # the jobs of a sweep begin with the same weights
def _read_state_dict(path: Path, identity: tuple[int, ...]) -> tuple[dict[str, Tensor], str]:
    try:
        state = load_without_code(path)
    except ValueError:
        state = None
    if isinstance(state, dict) and "pytorch-lightning_version" in state:
        state = state.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(
            f"model.weights={path} cannot be read as a state dict, which holds tensors by name and "
            f"nothing else.\nSave one with torch.save(model.state_dict(), FILE) or as .safetensors."
        )
    if not_finite(state):
        raise ConfigError(
            f"model.weights={path} cannot be used: {not_finite(state)} has values that are not "
            f"finite. Get the file again."
        )
    return state, f"{path.name} sha256:{file_sha256(path)[:16]}"
