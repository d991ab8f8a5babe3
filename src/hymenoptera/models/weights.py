"""Files of weights: state dicts in safetensors or in torch's own format, never code."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from hymenoptera.errors import ConfigError
from hymenoptera.files import file_sha256


def load_without_code(path: Path) -> Any:
    """Load a file onto the CPU if it holds nothing but tensors and plain containers.

    Raises:
        ConfigError: the file is missing, damaged, of another format, or would have to run code.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file.")
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the readers raise almost anything
        raise ConfigError(
            f"{path} cannot be read as a checkpoint or as weights: it is damaged, or holds more "
            f"than tensors and plain values."
        ) from error


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a `.safetensors` file, one written by `torch.save`, or a Lightning checkpoint.

    Returns:
        The state dict with its tensors on the CPU, and an id for the record: the file's name and
        the first 16 digits of its SHA-256.

    Raises:
        ConfigError: as `load_without_code`, or the file holds no state dict.
    """
    state = load_without_code(path)
    if isinstance(state, dict) and "pytorch-lightning_version" in state:
        state = state.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConfigError(
            f"{path} cannot be read as a state dict, which holds tensors by name and nothing else."
            f"\nSave one with torch.save(model.state_dict(), FILE) or as .safetensors."
        )
    return state, f"{path.name} sha256:{file_sha256(path)[:16]}"
