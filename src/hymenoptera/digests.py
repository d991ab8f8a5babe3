"""SHA-256 of files; a process reads each once, for as long as it stays what it is."""

import hashlib
from functools import lru_cache
from pathlib import Path


def file_identity(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes a file: inode, size in bytes, times in nanoseconds.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 lower-case hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    return _sha256(path, file_identity(path))


@lru_cache(maxsize=1 << 16)
def _sha256(path: Path, identity: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
