"""Files of weights: state dicts in safetensors or in torch's own format, never code."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from hymenoptera.digests import file_identity, file_sha256
from hymenoptera.errors import RequestError


def load_without_code(path: Path) -> Any:
    """Load what a file holds, onto the CPU, if that is tensors and plain containers alone.

    Args:
        path: a `.safetensors` file, or one that `torch.save` wrote.

    Raises:
        ValueError: the file is damaged, of another format, or would have to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes from anywhere make the readers raise almost anything
        raise ValueError(f"{path} cannot be read") from error


def not_finite(state: dict[str, Any]) -> str:
    """The name of the first tensor with a NaN or an infinity in it; empty where all are finite."""
    tensors = ((k, v) for k, v in state.items() if isinstance(v, Tensor) and v.is_floating_point())
    return next((str(name) for name, tensor in tensors if not tensor.isfinite().all()), "")


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a state dict without running any code that the file may hold.

    Args:
        path: a `.safetensors` file, or one that `torch.save` wrote.

    Returns:
        The state dict, its tensors on the CPU, and an id for the record: the file's name and the
        first 16 digits of its SHA-256.

    Raises:
        RequestError: there is no such file, it is not a state dict, or not all of it is finite.
    """
    if not path.is_file():
        raise RequestError(f"model.weights={path}: there is no such file.")
    return _read_state_dict(path, file_identity(path))


@lru_cache(maxsize=1)  # the jobs of a sweep begin with the same
def _read_state_dict(path: Path, identity: tuple[int, ...]) -> tuple[dict[str, Tensor], str]:
    try:
        state = load_without_code(path)
    except ValueError as error:
        raise RequestError(
            f"model.weights={path} is not a state dict: it cannot be read as a "
            f"{'safetensors' if path.suffix == '.safetensors' else 'torch'} file of tensors alone."
            f"\nSave one with torch.save(model.state_dict(), FILE) or as .safetensors."
        ) from error
    if isinstance(state, dict) and "pytorch-lightning_version" in state:
        raise RequestError(
            f"model.weights={path} is a run's checkpoint, not a state dict. "
            f"To go on with that run: resume={path}."
        )
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise RequestError(
            f"model.weights={path} is not a state dict: it holds something other than tensors "
            f"by name.\nSave one with torch.save(model.state_dict(), FILE) or as .safetensors."
        )
    if not_finite(state):
        raise RequestError(
            f"model.weights={path} cannot be used: {not_finite(state)} has numbers in it that are "
            f"not finite. Get the file again."
        )
    return state, f"{path.name} sha256:{file_sha256(path)[:16]}"
