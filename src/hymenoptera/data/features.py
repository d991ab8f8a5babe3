"""The feature cache: what a frozen network gives for each image, computed once and kept."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
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
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:24]}.safetensors"
    try:
        with lock(path):
            with suppress(SafetensorError, FileNotFoundError):
                features = load_file(path)["features"]
                if len(features) == count:
                    return features, False
            features = torch.cat(list(compute()))
            write_file(path, save({"features": features}))
            return features, True
    except OSError as error:
        raise ConfigError(
            f"transfer.cache_folder={folder}: features cannot be kept there "
            f"({error.strerror or error}). Choose another folder, or transfer.cache=false."
        ) from error
