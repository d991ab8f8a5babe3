"""The pictures of a large data set in arrays mapped from disk: no Python object a picture.

A list of a million paths takes 200 MB, and in every process that reads pictures once more, since
counting references writes to the pages that a fork had shared. Mapped arrays are read in place.
"""

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hymenoptera.data.folders import Sample

Rows = NDArray[np.int64]

ARRAYS = {  # by file, with its type and the length of a row
    "names": (np.uint8, 0),
    "ends": (np.int64, 0),
    "labels": (np.int64, 0),
    "sizes": (np.int64, 0),
    "mtimes": (np.int64, 0),
    "sha256": (np.uint8, 32),
    "lines": (np.int64, 0),
}
FACTS = "index.json"
CHUNK = 4096  # rows at a time, where each becomes a Python object for a moment


@dataclass(frozen=True)
class Table:
    """Pictures, a row each, sorted by path.

    Attributes:
        folder: where the arrays are.
        facts: what is no array: `classes`, `parts` (name and number of rows of each, in order),
            `contents` (whether files were read), `faults` (why, by row, of those that cannot be),
            `manifest_hash` of all rows, and what whoever made the table adds.
        names: (B,) uint8, all paths below the data set's folder, one after the other.
        ends: (N,) int64, where each of them ends.
        labels: (N,) int64.
        sizes: (N,) int64, bytes.
        mtimes: (N,) int64, nanoseconds.
        sha256: (N, 32) uint8; zeros where files were not read.
        lines: (N,) int64, the rows in the order of their lines in a manifest.
    """

    folder: Path
    facts: dict[str, Any]
    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64]
    sha256: NDArray[np.uint8]
    lines: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def __reduce__(self) -> tuple[Any, ...]:
        return read_table, (self.folder,)  # a process that is not forked maps the files itself

    def name(self, row: int) -> str:
        """A picture's path below the data set's folder, with slashes."""
        return os.fsdecode(self._name(row))

    def chunks(self, rows: Rows | None = None) -> Iterator[tuple[slice, list[bytes]]]:
        """The names of rows, in order, a few thousand at a time, and which of the rows they are."""
        count = len(self) if rows is None else len(rows)
        for start in range(0, count, CHUNK):
            part = slice(start, min(start + CHUNK, count))
            yield (
                part,
                self._names(np.arange(part.start, part.stop) if rows is None else rows[part]),
            )

    def keys(self) -> NDArray[np.bytes_]:
        """All names, as `sortable`."""
        longest = int(np.diff(self.ends, prepend=0).max())
        keys = np.empty(len(self), f"S{1 + longest}")
        for part, names in self.chunks():
            keys[part] = [name + b"\t" for name in names]
        return keys

    def row_of(self, name: str) -> int | None:
        """The row of a picture, by its path below the data set's folder."""
        lines, key = self.lines, os.fsencode(name) + b"\t"
        place = bisect_left(
            range(len(self)), key, key=lambda at: self._name(int(lines[at])) + b"\t"
        )
        row = int(lines[place]) if place < len(self) else -1
        return row if row >= 0 and self.name(row) == name else None

    def entries(self, rows: Rows) -> Iterator[tuple[bytes, int, str]]:
        """Path, size in bytes and SHA-256 of rows in order; in its place a time, if not read."""
        for part, names in self.chunks(rows):
            chosen = rows[part]
            contents = (
                _in_pieces(self.sha256[chosen].tobytes().hex(), 64)
                if self.facts["contents"]
                else [f"mtime {time}" for time in self.mtimes[chosen].tolist()]
            )
            yield from zip(names, self.sizes[chosen].tolist(), contents, strict=True)

    def manifest_hash(self, rows: Rows) -> str:
        """As `manifest.manifest_hash` of the rows' files."""
        if len(rows) == len(self) and "manifest_hash" in self.facts:
            return str(self.facts["manifest_hash"])
        wanted = np.zeros(len(self), bool)
        wanted[rows] = True
        digest = hashlib.sha256()
        for name, size, content in self.entries(self.lines[wanted[self.lines]]):
            digest.update(b"%b\t%d\t%b\n" % (name, size, content.encode()))
        return digest.hexdigest()

    def _name(self, row: int) -> bytes:
        return self.names[self.ends[row - 1] if row else 0 : self.ends[row]].tobytes()

    def _names(self, rows: Rows) -> list[bytes]:
        first, last = int(rows.min()), int(rows.max())
        if last - first > 4 * CHUNK:  # far apart
            return list(map(self._name, rows.tolist()))
        start = int(self.ends[first - 1]) if first else 0
        block = self.names[start : self.ends[last]].tobytes()
        ends = (self.ends[rows] - start).tolist()
        starts = (np.where(rows > 0, self.ends[rows - 1], 0) - start).tolist()
        return [block[begin:end] for begin, end in zip(starts, ends, strict=True)]


class Samples(Sequence[Sample]):
    """Some of a table's pictures, as a sequence of samples that are made when asked for.

    Attributes:
        root: the data set's folder.
        table: of all its pictures.
        rows: (N,) int64, which of them.
    """

    def __init__(self, root: Path, table: Table, rows: Rows) -> None:
        self.root = root
        self.table = table
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> "Samples": ...
    def __getitem__(self, position: int | slice) -> "Sample | Samples":
        if isinstance(position, slice):
            return self.of(self.rows[position])
        row = int(self.rows[position])
        return Sample(self.root / self.table.name(row), int(self.table.labels[row]))

    def faults(self) -> dict[Path, str]:
        """Why, by path, of those that cannot be read."""
        found = {int(row): why for row, why in self.table.facts["faults"].items()}
        ours = self.rows[np.isin(self.rows, list(found))].tolist() if found else []
        return {self.root / self.table.name(row): found[row] for row in ours}

    def of(self, rows: Rows) -> "Samples":
        """Other pictures of the same table."""
        return Samples(self.root, self.table, rows)


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """The labels (N,) of samples."""
    if isinstance(samples, Samples):
        return samples.table.labels[samples.rows]
    return np.fromiter((s.label for s in samples), np.int64, len(samples))


def without(samples: Sequence[Sample], paths: Iterable[Path]) -> Sequence[Sample]:
    """The samples less those of some paths, in the order given."""
    if not isinstance(samples, Samples):
        left_out = set(paths)
        return [s for s in samples if s.path not in left_out]
    names = [path.relative_to(samples.root).as_posix() for path in paths]
    rows = [row for row in map(samples.table.row_of, names) if row is not None]
    return samples.of(samples.rows[~np.isin(samples.rows, rows)]) if rows else samples


def together(*parts: Sequence[Sample]) -> Sequence[Sample]:
    """Samples of several parts, sorted by path."""
    if isinstance(parts[0], Samples):
        rows = [part.rows for part in parts if isinstance(part, Samples)]
        return parts[0].of(np.sort(np.concatenate(rows)))
    return sorted((s for part in parts for s in part), key=lambda sample: sample.path)


def positions(samples: Sequence[Sample], among: Sequence[Sample]) -> Sequence[int]:
    """Where samples stand among others, which are sorted by path."""
    if isinstance(samples, Samples) and isinstance(among, Samples):
        found: list[int] = np.searchsorted(among.rows, samples.rows).tolist()
        return found
    rows = {sample: row for row, sample in enumerate(among)}
    return [rows[sample] for sample in samples]


def read_table(folder: Path) -> Table:
    """Map a table that was written.

    Raises:
        OSError: a file of it is missing or cannot be read.
        ValueError: it is not whole, or names files outside of the data set's folder.
    """
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    count = len(arrays["ends"])
    for name, (kind, width) in ARRAYS.items():
        shape = (count, width) if width else (count,)
        if arrays[name].dtype != kind or (name != "names" and arrays[name].shape != shape):
            raise ValueError(f"{folder / name}.npy is not what it should be")
    if not count or int(arrays["ends"][-1]) != len(arrays["names"]):
        raise ValueError(f"{folder} is not whole")
    table = Table(folder, facts, **arrays)
    _check_names(table)
    return table


def _check_names(table: Table) -> None:
    """Refuse names that are empty, not UTF-8, or lead out of the data set's folder."""
    lengths = np.diff(table.ends, prepend=0)
    if lengths.min() <= 0 or (table.names[table.ends - lengths] == ord("/")).any():
        raise ValueError("it has a name that is empty or begins with /")
    for start in range(0, len(table), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(table)))
        ends = table.ends[rows]
        block = table.names[ends[0] - lengths[start] : ends[-1]].tobytes()
        block.decode()
        if b".." in block and any(b".." in name.split(b"/") for name in table._names(rows)):
            raise ValueError("it has a name with .. that leads out of the folder")


def write_table(
    folder: Path, facts: dict[str, Any], names: Sequence[bytes], **arrays: NDArray[Any]
) -> None:
    """Write a table into a folder that is there; `lines` follows from the names.

    Args:
        folder: an empty one.
        facts: as of `Table`.
        names: of the N pictures, sorted by path.
        arrays: `labels`, `sizes`, `mtimes`, `sha256`, as of `Table`.
    """
    ends = np.cumsum([len(name) for name in names], dtype=np.int64)
    lines = sortable(names).argsort(kind="stable")
    joined = bytearray()
    for start in range(0, len(names), CHUNK):  # at once, it would take 80 bytes more a name
        joined += b"".join(names[start : start + CHUNK])
    arrays |= {"names": np.frombuffer(joined, np.uint8), "ends": ends, "lines": lines}
    for name, (kind, _) in ARRAYS.items():
        np.save(folder / f"{name}.npy", arrays[name].astype(kind, copy=False))
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def add_hash(folder: Path) -> None:
    """Add the manifest hash of all rows to a table that was written."""
    table = read_table(folder)
    facts = {**table.facts, "manifest_hash": table.manifest_hash(np.arange(len(table)))}
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def sortable(names: Sequence[bytes]) -> NDArray[np.bytes_]:
    """Names (N,) in an array, in which they are compared as in a manifest's lines."""
    keys = np.empty(len(names), f"S{1 + max(map(len, names))}")
    for start in range(0, len(names), CHUNK):  # a list of all of them would take as much again
        keys[start : start + CHUNK] = [name + b"\t" for name in names[start : start + CHUNK]]
    return keys


def _in_pieces(text: str, length: int) -> list[str]:
    return [text[i : i + length] for i in range(0, len(text), length)]
