"""What a data set consists of, file by file: written down once, compared before every use."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hymenoptera.atomic import write_file
from hymenoptera.data.threads import in_threads
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
)
"""The suffixes (in lower case) that torchvision's `ImageFolder` takes for pictures."""

_LISTED = 3  # how many of the wrong files an error names


@dataclass(frozen=True)
class Entry:
    """One file of a data set.

    Attributes:
        size_bytes: its size.
        sha256: the SHA-256 of its content, 64 lower-case hexadecimal digits.
    """

    size_bytes: int
    sha256: str


Manifest = Mapping[str, Entry]
"""Entries by path, relative to the data set's folder and with slashes: `train/ants/0013035.jpg`."""


def read_manifest(path: Path) -> dict[str, Entry]:
    """Read a manifest file: a line a file, path, size in bytes and SHA-256 between tabs.

    Args:
        path: the file; lines that begin with `#` are left out.

    Raises:
        RequestError: the file cannot be read, or a line of it is not as described.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The manifest {path} cannot be read: {error}.") from error
    entries = {}
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match line.split("\t"):
            case [name, size, sha256] if size.isdecimal() and len(sha256) == 64:
                entries[name] = Entry(int(size), sha256)
            case _:
                raise RequestError(
                    f"Line {number} of the manifest {path} is not a path, a size and a SHA-256 "
                    "between tabs."
                )
    return entries


def write_manifest(path: Path, entries: Manifest) -> None:
    """Write a manifest file, as `read_manifest` reads it, whole or not at all."""
    lines = [f"{name}\t{entry.size_bytes}\t{entry.sha256}\n" for name, entry in entries.items()]
    write_file(path, "".join(lines))


def fingerprint(folder: Path, paths: Iterable[str]) -> dict[str, Entry]:
    """Measure files as a manifest writes them down.

    Args:
        folder: the data set's folder.
        paths: files, relative to the folder.

    Returns:
        An entry for each path, in the order given.

    Raises:
        RequestError: a file is missing or cannot be read.
    """
    names = list(paths)
    entries = in_threads(lambda name: _entry(folder / name), names)
    return dict(zip(names, entries, strict=True))


def _entry(path: Path) -> Entry:
    try:
        return Entry(path.stat().st_size, file_sha256(path))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error


def manifest_hash(entries: Manifest) -> str:
    """Identify a data set by its content: the SHA-256 over its sorted path, size, SHA-256 lines.

    Returns:
        64 hexadecimal digits, the same for the same files whatever their order and place.
    """
    lines = sorted(
        f"{name}\t{entry.size_bytes}\t{entry.sha256}\n" for name, entry in entries.items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check(folder: Path, manifest: Manifest, *, name: str | None = None, advice: str = "") -> None:
    """Compare a folder with a manifest.

    Pictures that the manifest lacks are wrong too, since training would read them; other stray
    files are not.

    Args:
        folder: the data set's folder, which holds `train/` and `val/`.
        manifest: what it should hold.
        name: what an error calls the folder; its path by default.
        advice: a sentence that says what to do, put at the error's end.

    Raises:
        RequestError: files are missing, differ or do not belong; it counts them and names the
            first three, a class folder that is missing as a whole counting as one name.
    """
    present = [path for path in manifest if (folder / path).is_file()]
    missing = sorted(set(manifest) - set(present))
    found = fingerprint(folder, present)
    differing = sorted(path for path in present if found[path] != manifest[path])
    extra = sorted(_pictures(folder, manifest) - set(manifest))
    if not (missing or differing or extra):
        return
    counts = [
        f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {verb}"
        for paths, verb in (
            (missing, "missing"),
            (differing, "different"),
            (extra, "that should not be there"),
        )
        if paths
    ]
    names = [
        *_missing_names(folder, missing),
        *(f"different {path}" for path in differing),
        *(f"unexpected {path}" for path in extra),
    ]
    dots = ", ..." if len(names) > _LISTED else ""
    raise RequestError(
        f"{name or folder} is not the data set it should be, of {len(manifest)} files: "
        f"{', '.join(counts)} ({', '.join(names[:_LISTED])}{dots})."
        + (f"\n{advice}" * bool(advice))
    )


def _missing_names(folder: Path, missing: list[str]) -> list[str]:
    """Name what is missing, whole folders first and instead of their files."""
    parents = {path: str(PurePosixPath(path).parent) for path in missing}
    gone = sorted({parent for parent in parents.values() if not (folder / parent).is_dir()})
    return [
        *(f"missing class folder {parent}/" for parent in gone),
        *(f"missing {path}" for path in missing if parents[path] not in gone),
    ]


def _pictures(folder: Path, manifest: Manifest) -> set[str]:
    """List the pictures under the folders, `train/` and `val/`, that the manifest speaks of."""
    splits = {PurePosixPath(path).parts[0] for path in manifest}
    return {
        path.relative_to(folder).as_posix()
        for split in splits
        for path in (folder / split).rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    }
