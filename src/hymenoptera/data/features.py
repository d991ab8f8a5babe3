"""The feature cache: what a frozen network gives for each image, computed once and kept."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hymenoptera.errors import ConfigError
from hymenoptera.files import lock, write_file


def cached(
    folder: Path, key: dict[str, Any], count: int, compute: Callable[[], Iterable[Tensor]]
) -> tuple[Tensor, bool]:
    """The features that a key determines: from the cache, or computed and put there.

    Of several processes one computes, and the others wait. A damaged file is made again.

    Args:
        folder: of the cache; made where there is none.
        key: all that determines the features, in plain containers.
        count: how many rows there are.
        compute: gives the rows in order, as batches (B, D) float32 on the CPU.

    Returns:
        (count, D) float32; and whether it was computed.

    Raises:
        ConfigError: the folder cannot be written.
    """
    text = json.dumps(key, sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    try:
        with lock(path):
            features = _read(path, text)
            if features is not None and len(features) == count:
                return features, False
            features = torch.cat(list(compute()))
            write_file(path, save({"features": features}, _metadata(text, features)))
            return features, True
    except OSError as error:
        raise ConfigError(
            f"transfer.cache_folder={folder}: features cannot be kept there "
            f"({error.strerror or error}). Choose another folder, or transfer.cache=false."
        ) from error


def _read(path: Path, key: str) -> Tensor | None:
    try:
        with safe_open(path, framework="pt") as file:
            features = file.get_tensor("features")
            return features if file.metadata() == _metadata(key, features) else None
    except (SafetensorError, OSError, ValueError):
        return None


def _metadata(key: str, features: Tensor) -> dict[str, str]:
    content = features.contiguous().numpy().data
    return {"key": key, "sha256": hashlib.sha256(content).hexdigest()}
