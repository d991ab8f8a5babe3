"""What a network's frozen part gives for each picture: computed once, kept, mapped from disk.

Decoded pictures are kept in the same way.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hymenoptera.atomic import alone, new_file
from hymenoptera.digests import file_identity
from hymenoptera.errors import RequestError

NAME = "features"
DTYPES = {torch.float32: "F32", torch.uint8: "U8", torch.int32: "I32"}  # as the format has them


def cached(
    folder: Path,
    facts: dict[str, Any],
    count: int,
    compute: Callable[[], Iterable[Tensor]],
    *,
    what: str = "features",
    key: str = "transfer.cache_folder",
    way_out: str = "transfer.cache=false",
) -> tuple[Tensor, bool]:
    """The features that facts determine: from the cache, or computed and put there.

    However many processes ask at once, one computes and the others wait. A file that is damaged,
    or says that it holds something else, is made again.

    Args:
        folder: of the cache; made where there is none.
        facts: all that determines the features, in plain containers.
        count: how many rows there are.
        compute: gives the rows in order, as batches (B, ...) on the CPU, of one of DTYPES; they
            are written as they come, so that they need not fit into memory.
        what: is kept, for an error.
        key: of the config, that names the folder, for an error.
        way_out: which setting does without, for an error.

    Returns:
        (count, ...) of that type, mapped from the file: what is not read is not in memory. And
        whether it had to be computed.

    Raises:
        RequestError: the folder cannot be written.
    """
    text = json.dumps(facts, sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    made = False
    try:
        while True:
            before = _identity(path)
            found = _read(path, text, count)  # all of it: not while others wait for the lock
            if found is not None or made:
                break
            with alone(path):
                if _identity(path) == before:  # otherwise another process has just made it
                    _write(path, text, count, compute())
                    made = True
    except OSError as error:
        raise RequestError(
            f"{key}={folder}: {what} cannot be kept there ({error.strerror or error}). "
            f"Choose another folder, or {way_out}."
        ) from error
    assert found is not None
    return found, made


def _identity(path: Path) -> tuple[int, ...] | None:
    return file_identity(path) if path.is_file() else None


def _read(path: Path, facts: str, count: int) -> Tensor | None:
    """The features of a file that is whole and holds what the facts say; otherwise None."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            features: Tensor = file.get_tensor(NAME)
    except (SafetensorError, OSError, ValueError):
        return None
    with path.open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        whole = hashlib.file_digest(stream, "sha256").hexdigest() == said.get("sha256")
    return features if whole and said.get("facts") == facts and len(features) == count else None


def _write(path: Path, facts: str, count: int, batches: Iterable[Tensor]) -> None:
    """Write a safetensors file batch by batch, beside its place, and rename it when it is whole."""
    digest = hashlib.sha256()
    shape: list[int] = []
    rows = 0
    with new_file(path) as file:
        for batch in batches:
            if not shape:
                shape, dtype = [count, *batch.shape[1:]], batch.dtype
                file.write(_header(facts, shape, dtype, "0" * 64))  # its place: the sum comes last
            data = batch.contiguous().numpy().tobytes()
            digest.update(data)
            file.write(data)
            rows += len(batch)
        if rows != count:
            raise RuntimeError(f"{rows} rows were computed instead of {count}")
        file.seek(0)
        file.write(_header(facts, shape, dtype, digest.hexdigest()))


def _header(facts: str, shape: list[int], dtype: torch.dtype, sha256: str) -> bytes:
    """What a safetensors file begins with (the format as its documentation describes it)."""
    size_bytes = dtype.itemsize
    for length in shape:
        size_bytes *= length
    text = json.dumps(
        {
            "__metadata__": {"facts": facts, "sha256": sha256},
            NAME: {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [0, size_bytes]},
        }
    ).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
