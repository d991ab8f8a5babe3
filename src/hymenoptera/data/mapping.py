"""The index of a large folder: made once, kept, mapped, compared with the folder at every start.

`folders.index_folder` holds a list of the pictures, and its caller reads all of them at every
start. Here each is read once. What is kept of it (size, time, SHA-256, whether it can be read)
stands for it for as long as size and time stay what they were.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymenoptera.atomic import alone, new_folder
from hymenoptera.data.folders import parts_of, walk
from hymenoptera.data.pictures import fault, why_unreadable
from hymenoptera.data.table import CHUNK, Table, add_hash, read_table, sortable, write_table
from hymenoptera.data.threads import in_threads, with_bar
from hymenoptera.errors import RequestError

VERSION = 1
MOST_IGNORED = 1000  # names of files of another type that are kept; all are counted

Stats = NDArray[np.int64]


def holds(root: Path, count: int) -> bool:
    """Whether there are so many files below a folder; no more than those are looked at."""
    for _, _, files in os.walk(root):
        count -= len(files)
        if count <= 0:
            return True
    return False


def mapped_table(root: Path, folder: Path, contents: bool) -> tuple[Table, dict[str, Any]]:
    """The table of a folder of class folders: the one that is kept, or made, or brought up to date.

    However many processes ask at once, one makes it and the others wait.

    Args:
        root: as `folders.index_folder` reads it.
        folder: where tables are kept.
        contents: read each picture once; otherwise its size and time stand for it.

    Returns:
        The table, and for the record: `contents`, how many files were `read` now, the `seconds`
        that it took, where it is `kept`, how many files of another type were `ignored`.

    Raises:
        RequestError: as `index_folder`, or the table cannot be kept in the folder.
    """
    root = root.absolute()
    place = folder / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    began = time.monotonic()
    try:
        with alone(place):
            kept = _kept(place)
            if kept is not None and _is_current(kept, root, contents):
                table, read = kept, 0
            else:
                table, read = _make(place, root, contents, kept)
    except OSError as error:
        raise RequestError(
            f"data.index_folder={folder}: the index of {root} cannot be made or kept there "
            f"({error.filename or place}: {error.strerror or error}). Choose another folder."
        ) from error
    return table, {
        "contents": contents,
        "read": read,
        "seconds": time.monotonic() - began,
        "kept": str(place),
        "ignored": table.facts["ignored_count"],
    }


def _kept(place: Path) -> Table | None:
    """The table that is kept, where it is whole and of this version."""
    try:
        table = read_table(place)
    except (OSError, ValueError, KeyError):
        return None
    return table if table.facts.get("version") == VERSION else None


def _is_current(table: Table, root: Path, contents: bool) -> bool:
    """Whether the folder is what it was: its folders' times, its files' sizes and times."""
    facts = table.facts
    train, val, classes = parts_of(root)
    now = [contents, classes, _part_names(root, train, val)]
    if now != [facts.get("contents"), facts.get("classes"), [part for part, _ in facts["parts"]]]:
        return False
    if any(_stat(str(root / path))[1] != mtime for path, mtime in facts["folders"].items()):
        return False
    for part, stats in _measured(root, table.chunks(), len(table), "comparing files"):
        if not np.array_equal(stats, np.stack([table.sizes[part], table.mtimes[part]])):
            return False
    faults = facts["faults"].items()
    return all(fault(root / table.name(int(row))) == why for row, why in faults)


def _make(place: Path, root: Path, contents: bool, kept: Table | None) -> tuple[Table, int]:
    """Make a table where the one that is kept is, of which all that still holds is taken over.

    Returns:
        The table, and how many files had to be read.
    """
    names, labels, facts = listed(root)
    count = len(names)
    sizes, mtimes = np.empty((2, count), np.int64)
    sha256 = np.zeros((count, 32), np.uint8)
    pieces = ((slice(i, i + CHUNK), names[i : i + CHUNK]) for i in range(0, count, CHUNK))
    for part, stats in _measured(root, pieces, count, "listing files"):
        sizes[part], mtimes[part] = stats
    faults: dict[int, str] = {}
    new: NDArray[np.int64] = np.arange(count if contents else 0)
    if contents:
        if kept is not None and kept.facts["contents"]:
            new = _take_over(kept, names, sizes, mtimes, sha256)
        faults = _read(root, names, new, sha256)
    facts |= {"version": VERSION, "contents": contents, "faults": faults}
    with new_folder(place) as temporary:
        write_table(
            temporary, facts, names, labels=labels, sizes=sizes, mtimes=mtimes, sha256=sha256
        )
        count_read = len(new)
        del names, labels, sizes, mtimes, sha256, new  # before the same is mapped from the disk
        add_hash(temporary)
        if place.exists():  # who has mapped its files keeps them
            shutil.rmtree(place)
    return read_table(place), count_read


def _part_names(root: Path, train: Path, val: Path | None) -> list[str]:
    """The folders that hold class folders, below the data set's, in the order of paths."""
    return sorted(str(part.relative_to(root)) for part in (train, val) if part is not None)


def listed(root: Path) -> tuple[list[bytes], NDArray[np.int64], dict[str, Any]]:
    """The pictures' paths below the folder, their labels, and what else there is to say of it."""
    train, val, classes = parts_of(root)
    names: list[bytes] = []
    counts: list[tuple[int, int]] = []  # of each class folder, its label and its pictures
    parts: list[tuple[str, int]] = []
    ignored: list[str] = []
    ignored_count = 0
    folders: dict[str, int] = {}
    for part in _part_names(root, train, val):
        before = len(names)
        folders[str(root / part)] = _stat(str(root / part))[1]
        for label, name in enumerate(classes):
            first = len(names)
            for path, is_picture in walk(str(root / part / name), folders):
                below = path[len(str(root)) + 1 :]
                if is_picture:
                    names.append(os.fsencode(below))
                    continue
                ignored_count += 1
                if len(ignored) < MOST_IGNORED:
                    ignored.append(below)
            counts.append((label, len(names) - first))
        parts.append((part, len(names) - before))
    labels = np.repeat(*np.array(counts, np.int64).T)
    return (
        names,
        labels,
        {
            "classes": classes,
            "parts": parts,
            "ignored": ignored,
            "ignored_count": ignored_count,
            # below the data set's, which may be known by several names
            "folders": {path[len(str(root)) + 1 :]: time for path, time in folders.items()},
        },
    )


def _measured(
    root: Path, pieces: Iterable[tuple[slice, list[bytes]]], count: int, title: str
) -> Iterator[tuple[slice, Stats]]:
    """Sizes and times (2, n) of files, some thousand at a time."""
    folder = os.fsencode(root) + b"/"

    def measure(piece: tuple[slice, list[bytes]]) -> tuple[slice, Stats]:
        part, names = piece
        return part, np.array([_stat(folder + name) for name in names], np.int64).T

    done = in_threads(measure, pieces)
    yield from with_bar(done, count, title, unit="file", size=lambda some: some[1].shape[1])


def _stat(path: str | bytes) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 # a Path takes as long as the call
    except OSError:
        return -1, -1  # the file is gone, or a link that leads nowhere
    return status.st_size, status.st_mtime_ns


def _take_over(
    kept: Table, names: list[bytes], sizes: Stats, mtimes: Stats, sha256: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Fill in the SHA-256 of files that are what they were; the rows of the others."""
    before, now = kept.keys(), sortable(names)
    places = np.searchsorted(before, now, sorter=kept.lines)
    old = kept.lines[np.minimum(places, len(kept) - 1)]
    same = before[old] == now
    same &= (kept.sizes[old] == sizes) & (kept.mtimes[old] == mtimes)
    same &= ~np.isin(old, [int(row) for row in kept.facts["faults"]])
    sha256[same] = kept.sha256[old[same]]
    return np.flatnonzero(~same)


def _read(
    root: Path, names: list[bytes], rows: NDArray[np.int64], sha256: NDArray[np.uint8]
) -> dict[int, str]:
    """Read files, fill in their SHA-256, decode them; why, by row, of those that cannot be."""

    def read(some: list[int]) -> list[tuple[int, bytes, str | None]]:
        found = ((row, *look(root / os.fsdecode(names[row]))) for row in some)
        return [(row, hashlib.sha256(data).digest(), why) for row, data, why in found]

    pieces = (rows[i : i + 256].tolist() for i in range(0, len(rows), 256))
    faults: dict[int, str] = {}
    for found in with_bar(in_threads(read, pieces), len(rows), "reading pictures", size=len):
        for row, digest, why in found:
            sha256[row] = np.frombuffer(digest, np.uint8)
            if why:
                faults[row] = why
    return faults


def look(path: Path) -> tuple[bytes, str | None]:
    """What a file holds, and why that is no picture, where it is not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return b"", why_unreadable(error, path)
    return data, fault(path, data)
