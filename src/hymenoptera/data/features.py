"""What a network gives for images, its features; and the cache that keeps a frozen network's."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hymenoptera.data.manifest import in_threads
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import Samples
from hymenoptera.errors import ConfigError
from hymenoptera.files import lock, write_file

BATCH_SIZE = 32  # images that `embed` computes together


def embed(network: nn.Module, preprocessing: Preprocessing, samples: Samples) -> Iterator[Tensor]:
    """Batches (B, D) float32 on the CPU of what a network gives for images, in their order."""
    own, transform = next(network.eval().parameters()), preprocessing.eval_transform()
    images = in_threads(lambda i: transform(samples.read(i)), range(len(samples)), "features")
    while batch := list(islice(images, BATCH_SIZE)):
        inputs = torch.stack(batch).to(own.device, own.dtype, memory_format=torch.channels_last)
        with torch.inference_mode():
            features = network(inputs).float().cpu()
        yield features


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
