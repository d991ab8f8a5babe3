"""Makes shards of a folder of class folders: tar files as WebDataset has them."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hymenoptera.atomic import make_folder, write_file
from hymenoptera.data.dividing import refuse_empty, rows_by_part
from hymenoptera.data.folders import parts_of, refuse_strange
from hymenoptera.data.mapping import listed, look
from hymenoptera.data.pictures import refuse_unreadable
from hymenoptera.data.shards import FILE, FORMAT, PLACES, TABLE, VERSION
from hymenoptera.data.table import add_hash, read_table, write_table
from hymenoptera.data.threads import in_threads
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError

TOGETHER = 64  # pictures that a thread reads in one go


def make_shards(root: Path, out: Path, shard_bytes: int, skip: bool = False) -> dict[str, Any]:
    """Put a folder's pictures into shards, each part's in an order drawn once, whole or not at all.

    Args:
        root: as `folders.index_folder` reads it.
        out: the folder to make.
        shard_bytes: at which size a shard is full.
        skip: leave out pictures that cannot be read, instead of refusing the folder.

    Returns:
        What `shards.json` says: `classes`, `pictures` by part, `skipped` by path, `manifest_hash`,
        `shards` and `index`.

    Raises:
        RequestError: there is something at `out`, the extra is missing, as `index_folder`, or
            pictures cannot be read.
    """
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise RequestError("Shards need WebDataset: pip install -e '.[stream]'") from error
    if out.exists():
        raise RequestError(f"{out} is there already: name a folder to be made.")
    root = root.absolute()
    train, val, classes = parts_of(root)
    if val is not None:
        refuse_strange(val, train, classes)
    names, labels, facts = listed(root)
    if not names:
        raise RequestError(f"{root} holds no pictures in class folders.")
    made: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        made.update(_fill(folder, root, names, labels, facts, shard_bytes, skip))

    make_folder(out, fill)
    return made


def _fill(
    folder: Path,
    root: Path,
    names: list[bytes],
    labels: NDArray[np.int64],
    facts: dict[str, Any],
    shard_bytes: int,
    skip: bool,
) -> dict[str, Any]:
    count = len(names)
    sizes, places = np.zeros(count, np.int64), np.full((count, 2), -1, np.int64)
    sha256 = np.zeros((count, 32), np.uint8)
    faults: dict[int, str] = {}
    shards: list[dict[str, Any]] = []
    with tqdm(total=count, desc="making shards", unit="picture", leave=False, disable=None) as bar:
        start = 0
        for part, length in facts["parts"]:
            order = start + np.random.default_rng(0).permutation(length)
            start += length
            writer = _Writer(folder, "all" if part == "." else part, shard_bytes, shards)
            for row, data, why in _read(root, names, order):
                bar.update()
                if why:
                    faults[row] = why
                    continue
                sizes[row], sha256[row] = len(data), _digest(data)
                writer.add(row, data, os.fsdecode(names[row]), int(labels[row]))
            writer.close(places)
    skipped = {os.fsdecode(names[row]): why for row, why in sorted(faults.items())}
    if not skip:
        refuse_unreadable(
            {root / name: why for name, why in skipped.items()},
            ", or leave them out with --on-error skip",
        )
    kept = np.flatnonzero(places[:, 0] >= 0)
    if not len(kept):
        raise RequestError(f"{root}: none of its {count} pictures can be read.")
    ends = np.cumsum([length for _, length in facts["parts"]])
    lengths = np.diff(np.searchsorted(kept, ends), prepend=0).tolist()
    parts = [(part, length) for (part, _), length in zip(facts["parts"], lengths, strict=True)]
    table = folder / TABLE
    table.mkdir()
    write_table(
        table,
        {
            "classes": facts["classes"],
            "parts": parts,
            "ignored": [],
            "contents": True,
            "faults": {},
        },
        [names[row] for row in kept],
        labels=labels[kept],
        sizes=sizes[kept],
        mtimes=np.zeros(len(kept), np.int64),
        sha256=sha256[kept],
    )
    add_hash(table)
    np.save(table / PLACES, places[kept])
    written = read_table(table)
    train = "train" if "train" in dict(parts) else "."
    refuse_empty(root / train, written, rows_by_part(written)[train])
    said = {
        "format": FORMAT,
        "version": VERSION,
        "classes": facts["classes"],
        "pictures": dict(parts),
        "skipped": skipped,
        "manifest_hash": written.manifest_hash(np.arange(len(kept))),
        "shards": shards,
        "index": {path.name: file_sha256(path) for path in sorted(table.iterdir())},
    }
    write_file(folder / FILE, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return said


def _read(
    root: Path, names: list[bytes], order: NDArray[np.int64]
) -> Iterator[tuple[int, bytes, str | None]]:
    """Rows in order, what their files hold, and why that is no picture."""

    def read(rows: list[int]) -> list[tuple[int, bytes, str | None]]:
        return [(row, *look(root / os.fsdecode(names[row]))) for row in rows]

    pieces = (order[i : i + TOGETHER].tolist() for i in range(0, len(order), TOGETHER))
    for some in in_threads(read, pieces):
        yield from some


def _digest(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)


class _Writer:
    """Writes the shards of a part, one after the other.

    Args:
        folder: where.
        part: with which their names begin.
        shard_bytes: at which size one is full.
        shards: what is said of each is added here.
    """

    def __init__(
        self, folder: Path, part: str, shard_bytes: int, shards: list[dict[str, Any]]
    ) -> None:
        self._folder, self._part, self._shard_bytes, self._shards = (
            folder,
            part,
            shard_bytes,
            shards,
        )
        self._number = 0
        self._rows: dict[str, tuple[int, int]] = {}  # by member: the picture's row, and its shard
        self._path: Path | None = None
        self._places: list[tuple[int, int, int]] = []

    def add(self, row: int, data: bytes, name: str, label: int) -> None:
        """Add a picture; its path and label go beside it, where other programs find them."""
        from webdataset import TarWriter

        if self._path is None:
            self._path = self._folder / f"{self._part}-{self._number:06d}.tar"
            self._number += 1
            self._file = self._path.open("xb")
            # nobody's name and no time: the same pictures make the same bytes
            self._tar = TarWriter(self._file, user="", group="", mtime=0, encoder=False)
        key, kind = f"{row:010d}", name.rpartition(".")[2].lower()
        said = json.dumps({"path": name, "label": label}).encode()
        self._tar.write({"__key__": key, kind: data, "json": said})
        self._rows[f"{key}.{kind}"] = (row, len(self._shards))
        if self._file.tell() >= self._shard_bytes:
            self._finish()

    def close(self, places: NDArray[np.int64]) -> None:
        """Finish the last shard, and say where the pictures are."""
        self._finish()
        for row, shard, start in self._places:
            places[row] = shard, start

    def _finish(self) -> None:
        if self._path is None:
            return
        self._tar.close()
        self._file.close()
        with tarfile.open(self._path) as tar:
            for member in tar:
                if member.name in self._rows:
                    self._places.append((*self._rows[member.name], member.offset_data))
        self._shards.append(
            {
                "file": self._path.name,
                "pictures": len(self._rows),
                "bytes": self._path.stat().st_size,
                "sha256": file_sha256(self._path),
            }
        )
        self._rows.clear()
        self._path = None
