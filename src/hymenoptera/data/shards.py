"""Pictures in shards, tar files as WebDataset has them: any of them by its row, from disk or afar.

A folder of shards holds `shards.json` (classes, counts, each shard's size and SHA-256), `index/`
(a `table.Table` of the pictures, with `places.npy`: in which shard each is, and at which byte) and
the shards. A picture keeps the path it had in the folder it came from, below the folder of shards.
"""

import hashlib
import json
import mmap
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hymenoptera.atomic import alone, new_file, remove_halves
from hymenoptera.data.table import ARRAYS, FACTS, read_table
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError, RunError

FILE = "shards.json"
ORIGIN = "origin.json"  # of shards that are fetched as they are needed: where from
TABLE = "index"
PLACES = "places.npy"
FORMAT = "hymenoptera shards"
VERSION = 1
MOST_MAPPED = 64  # shards in a process at a time
MOST_FETCHES = 8  # of a shard that goes again before it is mapped
SHA256 = "[0-9a-f]{64}"
LIMIT_BYTES = 1 << 28  # of shards.json: 64 GB of pictures take 300 kB


class Shards:
    """A folder of shards, opened.

    Attributes:
        folder: where `shards.json` and `index/` are.
        table: of the pictures.
        places: (N, 2) int64, the number of the shard that holds each, and the byte it begins at.
        shards: `file`, `bytes`, `sha256` and `pictures` of each shard.
        origin: where shards are fetched from, and how many bytes of them are kept; None where
            all of them are in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = read_description(folder)["shards"]
        with _whole(folder):
            self.table = read_table(folder / TABLE)
            self.places: NDArray[np.int64] = np.load(folder / TABLE / PLACES, mmap_mode="r")
            self._check_places()
            origin = folder / ORIGIN
            self.origin = json.loads(origin.read_text()) if origin.is_file() else None
        self._mapped: OrderedDict[int, mmap.mmap] = OrderedDict()

    def _check_places(self) -> None:
        if self.places.dtype != np.int64 or self.places.shape != (len(self.table), 2):
            raise ValueError(f"{PLACES} is not what it should be")
        numbers, starts = self.places.T
        lengths = np.array([shard["bytes"] for shard in self.shards], np.int64)
        if numbers.min() < 0 or numbers.max() >= len(lengths) or starts.min() < 0:
            raise ValueError(f"{PLACES} names a shard or a byte that is none")
        if (self.table.sizes < 0).any() or (starts > lengths[numbers] - self.table.sizes).any():
            raise ValueError(f"{PLACES} names a place outside of a shard")

    def read(self, row: int) -> bytes:
        """A picture's file.

        Raises:
            RunError: its shard is gone, cannot be fetched, or is not what it was.
        """
        shard, start = self.places[row].tolist()
        return self._map(shard)[start : start + int(self.table.sizes[row])]

    def _map(self, number: int) -> mmap.mmap:
        if number in self._mapped:
            self._mapped.move_to_end(number)
            return self._mapped[number]
        shard = self.shards[number]
        for _ in range(MOST_FETCHES):
            path = self.folder / shard["file"] if self.origin is None else self._fetched(shard)
            try:
                mapped = _mapped(path)
                break
            except FileNotFoundError:  # others have fetched so much since that it had to go
                if self.origin is None:
                    raise RunError(f"The shard {path} is gone.") from None
            except (OSError, ValueError) as error:
                raise RunError(f"The shard {path} cannot be read ({error}).") from error
        else:
            raise RunError(
                f"The shard {path} was fetched {MOST_FETCHES} times, and each time had to go for "
                f"another one before it was read: a larger data.cache_gb keeps more of them."
            )
        if len(mapped) != shard["bytes"]:
            raise RunError(f"The shard {path} has been changed since the run began.")
        self._mapped[number] = mapped
        if len(self._mapped) > MOST_MAPPED:
            self._mapped.popitem(last=False)
        return mapped

    def _fetched(self, shard: dict[str, Any]) -> Path:
        """A shard's copy here, once fetched; by one process, the others wait."""
        assert self.origin is not None
        from webdataset.cache import LRUCleanup

        url = f"{self.origin['url']}/{shard['file']}"
        # its name says what is in it: one that was made again at the same address is another one
        place: Path = self.folder / "cache" / f"{shard['sha256'][:24]}.tar"
        try:
            if not place.is_file():
                with alone(place):
                    if not place.is_file():  # another process may have fetched it meanwhile
                        LRUCleanup(str(place.parent), self.origin["bytes"]).cleanup()
                        _copy(url, place, shard["sha256"])
        except Exception as error:  # a protocol's client raises what it likes
            reason = "it is damaged" if isinstance(error, ValueError) else str(error)
            raise RunError(f"The shard {url} cannot be fetched: {reason}.") from error
        return place


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@lru_cache(maxsize=1 << 12)
def shards_in(folder: Path) -> Shards | None:
    """The shards in a folder, if it has any."""
    try:
        with (folder / FILE).open("rb") as file:
            ours = f'"{FORMAT}"'.encode() in file.read(100)
    except OSError:
        return None
    return Shards(folder) if ours else None


def contents(path: Path) -> bytes | None:
    """What a file holds that is not on the disk but in the shards of a folder above it."""
    for folder in path.parents:
        shards = shards_in(folder)
        if shards is not None:
            row = shards.table.row_of(path.relative_to(folder).as_posix())
            return None if row is None else shards.read(row)
    return None


def read_description(folder: Path) -> dict[str, Any]:
    """Read `shards.json`.

    Raises:
        RequestError: there is none, or it is not what it should be.
    """
    path = folder / FILE
    if not path.is_file():
        raise RequestError(
            f"{folder} is no folder of shards, it has no {FILE}. "
            f"Make one: hymenoptera shard PICTURES {folder}"
        )
    with _whole(folder):
        if path.stat().st_size > LIMIT_BYTES:
            raise ValueError(f"{FILE} is larger than {LIMIT_BYTES} bytes")
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT or said["version"] > VERSION:
            raise ValueError(f"it is of another format or a newer version than {VERSION}")
        for shard in said["shards"]:
            if Path(shard["file"]).name != shard["file"]:
                raise ValueError(f"it names a file outside of the folder, {shard['file']}")
            if not (isinstance(shard["bytes"], int) and re.fullmatch(SHA256, shard["sha256"])):
                raise ValueError(f"it does not say what {shard['file']} is")
        if set(said["index"]) != {*(f"{name}.npy" for name in ARRAYS), FACTS, PLACES}:
            raise ValueError("it does not say what index/ is")
    return said


def check_index(folder: Path, description: dict[str, Any]) -> None:
    """Compare `index/` with what `shards.json` says of it.

    Raises:
        RequestError: naming the file that is missing or damaged.
    """
    for name, sha256 in description["index"].items():
        path = folder / TABLE / name
        if not path.is_file() or file_sha256(path) != sha256:
            what = "damaged" if path.is_file() else "missing"
            raise RequestError(f"{path} is {what}: without it nobody knows what the shards hold.")


def fetch_index(url: str, folder: Path, cache_bytes: int) -> Path:
    """Have the description and the index of shards that lie elsewhere here; they stay there.

    Args:
        url: of the folder of shards: s3://, gs://, https:// or what else fsspec knows.
        folder: where such copies are kept.
        cache_bytes: of shards that are kept there too, at the most.

    Returns:
        The folder to open them from.

    Raises:
        RequestError: they cannot be fetched, or are not what they should be.
    """
    place = folder / hashlib.sha256(url.encode()).hexdigest()[:24]
    try:
        with alone(place):
            (place / TABLE).mkdir(parents=True, exist_ok=True)
            _copy(f"{url}/{FILE}", place / FILE)
            said = read_description(place)
            for name, sha256 in said["index"].items():
                path = place / TABLE / name
                if not path.is_file() or file_sha256(path) != sha256:
                    _copy(f"{url}/{TABLE}/{name}", path)
            check_index(place, said)
            with new_file(place / ORIGIN) as file:
                file.write(json.dumps({"url": url, "bytes": cache_bytes}).encode())
    except RequestError:
        raise
    except Exception as error:  # a protocol's client raises what it likes
        if not (place / FILE).is_file():
            shutil.rmtree(place, ignore_errors=True)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestError(
            f"data.root={url}: the shards there cannot be read ({lines[0]}). It takes a "
            f"folder that hymenoptera shard made, or its address."
        ) from error
    return place


def open_any_address() -> None:
    """Have WebDataset open every kind of address that fsspec knows, and run no program for it."""
    import fsspec

    gopen: Any = import_module("webdataset.gopen")  # the package has a function of that name

    def with_fsspec(url: str, mode: str = "rb", bufsize: int = 8192, **_: Any) -> Any:
        return fsspec.open(url, mode).open()

    gopen.gopen_schemes = dict.fromkeys(fsspec.available_protocols(), with_fsspec)
    gopen.gopen_schemes["__default__"] = gopen.gopen_error


def _copy(url: str, path: Path, sha256: str | None = None) -> None:
    """Copy a file from elsewhere; a ValueError where its SHA-256 is not what it should be."""
    from webdataset.gopen import gopen

    open_any_address()
    remove_halves(path)  # the caller holds its lock, or its folder's
    digest = hashlib.sha256()
    with gopen(url) as source, new_file(path) as target:
        while data := source.read(1 << 20):
            digest.update(data)
            target.write(data)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ValueError(f"{url} is damaged")


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Say of shards that are some by their name that the rest of them is not."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        _refuse(folder, error)


def _refuse(folder: Path, error: Exception) -> NoReturn:
    raise RequestError(
        f"{folder}: its {FILE} or {TABLE}/ is damaged ({error}). Make the shards again: "
        f"hymenoptera shard PICTURES DIR"
    ) from error
