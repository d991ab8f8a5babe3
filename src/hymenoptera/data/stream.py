"""Pictures from shards, as `hymenoptera shard` makes them: on disk, or in object storage."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from hymenoptera.atomic import write_file
from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.dividing import divide
from hymenoptera.data.folders import Index
from hymenoptera.data.order import EpochSampler
from hymenoptera.data.shards import (
    Shards,
    check_index,
    fetch_index,
    read_description,
    shards_in,
)
from hymenoptera.data.table import Samples
from hymenoptera.data.threads import in_threads, with_bar
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError

log = logging.getLogger(__name__)

CHECKED = "checked.json"


class StreamDataModule(PictureDataModule):
    """A folder of shards, or its address; otherwise as a folder of pictures.

    The order is the project's own, not WebDataset's, whose shuffling follows from the number of
    processes and readers, and cannot be taken up in the middle of an epoch. A picture is read by
    its place in a shard; where it lies changes nothing else.

    Args:
        root: the folder, or its address (s3://, gs://, https:// and what else fsspec knows).
        folder: where copies of what lies elsewhere are kept.
        cache_gb: of such shards, at the most.
        shards_at_once: among how many shards pictures are shuffled; as many are read at a time.
        options: as of `PictureDataModule`.
    """

    def __init__(
        self, *, root: str, folder: str, cache_gb: float, shards_at_once: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self._root = root.removeprefix("file://")
        self._folder = Path(folder).expanduser()
        self._cache_bytes = int(cache_gb * 1e9)
        self._shards_at_once = shards_at_once
        self._shards: Shards | None = None

    def locate(self) -> Path:
        """The folder of shards; of an address, the copy of its index."""
        if "://" not in self._root:
            path = Path(self._root).expanduser().absolute()
            if not path.is_dir():
                raise RequestError(f"data.root={self._root}: there is no such folder.")
            return path
        return fetch_index(self._root.rstrip("/"), self._folder.absolute(), self._cache_bytes)

    def find(self) -> Index:
        """Open the shards, and compare those on the disk with what is written of them.

        Raises:
            RequestError: naming the shard or file that is missing or damaged.
        """
        root = self.locate()
        description = read_description(root)
        check_index(root, description)
        shards_in.cache_clear()
        self._shards = shards_in(root)
        assert self._shards is not None
        if self._shards.origin is None:
            check_shards(root, description["shards"], self._folder)
        else:
            check_afar(self._root.rstrip("/"), description["shards"])
        return divide(root, self._shards.table, **self._split)

    def sampler(self, count: int, *, shuffle: bool, views: int | None) -> EpochSampler:
        """As of any data module, through some shards at a time where that is shuffled."""
        sampler = super().sampler(count, shuffle=shuffle, views=views)
        train = self.index.train
        if shuffle and self._shards is not None and isinstance(train, Samples):
            sampler.go_by(torch.tensor(self._shards.places[train.rows, 0]), self._shards_at_once)
        return sampler


def check_shards(root: Path, shards: list[dict[str, Any]], folder: Path) -> None:
    """Compare shards with what is written of them: size always, SHA-256 where it is not known yet.

    Args:
        root: their folder.
        shards: `file`, `bytes` and `sha256` of each.
        folder: where it is noted which files were found whole.

    Raises:
        RequestError: naming the first one that is missing or damaged.
    """
    place = folder / CHECKED
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    marks = {}
    for shard in shards:
        path = root / shard["file"]
        if not path.is_file():
            raise _damaged(path, "missing")
        status = path.stat()
        if status.st_size != shard["bytes"]:
            raise _damaged(path, f"damaged, it has {status.st_size} bytes of {shard['bytes']}")
        marks[str(path)] = [status.st_size, status.st_mtime_ns, shard["sha256"]]
    new = [
        shard for shard in shards if (p := str(root / shard["file"])) and known.get(p) != marks[p]
    ]
    digests = in_threads(lambda shard: file_sha256(root / shard["file"]), new)
    shown = with_bar(digests, len(new), "reading shards", unit="shard")
    for shard, digest in zip(new, shown, strict=True):
        if digest != shard["sha256"]:
            raise _damaged(root / shard["file"], "damaged, its SHA-256 is another one")
    if new:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(place, json.dumps({**known, **marks}))


def check_afar(url: str, shards: list[dict[str, Any]]) -> None:
    """Compare the sizes of shards that lie elsewhere, where a list of them can be had.

    Their SHA-256 is compared when they are fetched.

    Raises:
        RequestError: naming the first one that is missing or damaged.
    """
    import fsspec

    try:
        files, folder = fsspec.url_to_fs(url)
        sizes = {one["name"].rpartition("/")[2]: one["size"] for one in files.ls(folder, True)}
    except Exception as error:  # a protocol's client raises what it likes; http has no lists
        log.debug("The shards at %s cannot be listed.", url, exc_info=error)
        return
    for shard in shards:
        size = sizes.get(shard["file"])
        if size is None:
            raise _damaged(f"{url}/{shard['file']}", "missing")
        if size != shard["bytes"]:
            raise _damaged(
                f"{url}/{shard['file']}", f"damaged, it has {size} bytes of {shard['bytes']}"
            )


def _damaged(path: Path | str, what: str) -> RequestError:
    return RequestError(
        f"The shard {path} is {what}. Get it again, or make the shards again: "
        f"hymenoptera shard PICTURES DIR"
    )
