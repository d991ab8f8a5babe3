"""What a data set consists of, file by file: written once, compared before every use."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from hymenoptera.errors import ConfigError
from hymenoptera.files import file_sha256, write_file

Item = TypeVar("Item")
Result = TypeVar("Result")


class Entry(NamedTuple):
    """One file of a data set: its size, and its SHA-256 as 64 lower-case hexadecimal digits."""

    size_bytes: int
    sha256: str


Manifest = Mapping[str, Entry]
"""Entries by path, relative to the data set's folder, with slashes: `train/ants/0013035.jpg`."""


def read_manifest(path: Path) -> dict[str, Entry]:
    """Read a manifest file: a line a file, path, size in bytes and SHA-256 between tabs."""
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: Entry(int(size), sha256) for name, size, sha256 in fields}


def write_manifest(path: Path, entries: Manifest) -> None:
    """Write a manifest file, as `read_manifest` reads it, whole or not at all."""
    write_file(path, "".join(_lines(entries)))


def manifest_hash(entries: Manifest) -> str:
    """SHA-256 over the sorted lines: the same for the same files in any order and place."""
    return hashlib.sha256("".join(sorted(_lines(entries))).encode()).hexdigest()


def entry_of(source: Path | bytes) -> Entry:
    """Measure a file, or what one would hold; ConfigError where it cannot be read."""
    if isinstance(source, bytes):
        return Entry(len(source), hashlib.sha256(source).hexdigest())
    try:
        return Entry(source.stat().st_size, file_sha256(source))
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}.") from error


def differences(folder: Path, manifest: Manifest) -> list[str]:
    """The files of a manifest that are missing in a folder or different, those missing first."""

    def fault(name: str) -> str:
        if not (folder / name).is_file():
            return f"missing {name}"
        return "" if entry_of(folder / name) == manifest[name] else f"different {name}"

    return sorted(filter(None, in_threads(fault, manifest)), reverse=True)


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], title: str | None = None
) -> Iterator[Result]:
    """Apply work to many files in threads; the results come in the items' order.

    With a title, a progress bar is shown where it takes more than a second.
    """
    pending: deque[Future[Result]] = deque()  # few, so that their results fit into memory
    workers = min(32, (os.cpu_count() or 1) + 4)
    with ThreadPoolExecutor(workers) as pool:
        for item in tqdm(items, title, leave=False, delay=1.0, disable=None if title else True):
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _lines(entries: Manifest) -> Iterator[str]:
    return (f"{name}\t{entry.size_bytes}\t{entry.sha256}\n" for name, entry in entries.items())
