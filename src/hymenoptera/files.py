"""Files and folders that are there whole or not at all; locks; hashes."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

PARTIAL = ".partial"  # ends the name of what is being written


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it appears under its name only when it is whole.

    An older file is replaced at the end, and left as it is when an exception goes through. A
    symbolic link stays a link, and its target is replaced. What is no regular file, such as
    /dev/null, is written directly. The file gets the permissions that the umask allows.

    Raises:
        OSError: the file cannot be written; the older file, if any, is untouched.
    """
    target = path.resolve() if path.is_symlink() else path
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # the error of a full disk does not name the file
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file, see `new_file`; text is written as UTF-8, newlines as they are.

    Raises:
        OSError: the file cannot be written; the older file, if any, is untouched.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock of a path (`.NAME.lock` beside it); other processes wait for their turn.

    Folders that the lock needs are made. Afterwards the lock file is gone, and so are the folders
    made for it that stayed empty. Partial files of the path, left by killed processes, are removed.

    Raises:
        OSError: the lock file cannot be written there.
    """
    made = [place for place in (path.parent, *path.parent.parents) if not place.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(path.parent / f".{path.name}.lock")
    file_lock.acquire()
    try:
        _remove_partial(path)
        yield
    finally:
        with suppress(OSError):  # stops at the first folder that is in use
            Path(file_lock.lock_file).unlink()  # while it is held: it may be another's afterwards
            for place in made:
                place.rmdir()
        file_lock.release()


def _remove_partial(path: Path) -> None:
    start = f".{path.name}."
    with suppress(OSError):  # what cannot be removed does no harm
        for partial in list(path.parent.iterdir()):
            # a dot in the middle: it belongs to another path, whose name begins with this one's
            middle = partial.name.removeprefix(start).removesuffix(PARTIAL)
            if partial.name == f"{start}{middle}{PARTIAL}" and "." not in middle:
                if partial.is_dir():
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    partial.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder once, however many processes ask for it at the same time.

    If it does not exist, `fill` writes its content into a temporary folder, which is renamed; when
    it raises, nothing is left behind.
    """
    if path.is_dir():
        return path
    with lock(path):
        if path.is_dir():  # another process made it while this one waited
            return path
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent))
        try:
            fill(temporary)
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 lower-case hexadecimal digits; read once as long as it stays the same.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    return _sha256(path, (status.st_ino, status.st_size, *times))


@lru_cache(maxsize=1 << 16)
def _sha256(path: Path, identity: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
