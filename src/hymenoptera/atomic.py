"""Files and folders that are there whole or not at all: made beside their place, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

HALF = ".half"  # ends the name of what is being written


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write into, that takes its place when it is whole.

    Args:
        path: the file's final place; an older file there is replaced at the end, or left as it
            is where an exception goes through.

    Raises:
        OSError: the file cannot be written; the older file, if any, is untouched.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=HALF, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # a disk that is full does not say of itself where
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it.

    Args:
        path: the file's final place; an older file there is replaced.
        content: the whole content; text is written as UTF-8 with its newlines as they are.

    Raises:
        OSError: the file cannot be written; the older file, if any, is untouched.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a path (`.NAME.lock` beside it); other processes wait for their turn.

    Folders that the lock's place needs are made. Afterwards the lock file is gone, and so are the
    folders made for it, should they have stayed empty. What processes that were killed while they
    wrote the path have left beside it is removed.

    Args:
        path: what only one process at a time may make; it need not exist.

    Raises:
        OSError: the lock file cannot be written there.
    """
    lock = FileLock(path.parent / f".{path.name}.lock")
    made: list[Path] = []
    while not lock.is_locked:
        made += [place for place in (path.parent, *path.parent.parents) if not place.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (FileNotFoundError, FileExistsError):
            # the process waited for has removed the folder it had made: then make it again
            if path.parent.exists() and not path.parent.is_dir():
                raise
    try:
        remove_halves(path)
        yield
    finally:
        with suppress(OSError):  # the rest is tidying: the first folder in use ends it
            Path(lock.lock_file).unlink()  # while it is held, so that nobody else's is removed
            for place in made:
                place.rmdir()
        lock.release()


def remove_halves(path: Path) -> None:
    """Remove what killed processes have left of a path; for who alone may write it."""
    start = f".{path.name}."
    with suppress(OSError):  # what cannot be removed is in nobody's way
        for half in list(path.parent.iterdir()):
            # a dot between would be of another path, whose name begins with this one's
            middle = half.name.removeprefix(start).removesuffix(HALF)
            if half.name == f"{start}{middle}{HALF}" and "." not in middle:
                if half.is_dir():
                    shutil.rmtree(half, ignore_errors=True)
                else:
                    half.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Have a folder to fill, that takes its place when it is whole; that must be free by then.

    Where an exception goes through, nothing is left behind.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=HALF, dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def make_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder once, whatever the number of processes that ask for it at the same time.

    The first process to get the lock (see `alone`) fills a temporary folder and renames it; the
    others wait and find it there.

    Args:
        path: the folder's final place; where it exists already, nothing is done.
        fill: writes the content into the temporary folder it is given. When it raises, nothing
            is left behind and the error goes on to the caller.

    Returns:
        The path.
    """
    if path.is_dir():
        return path
    with alone(path):
        if path.is_dir():  # another process made it while this one waited
            return path
        with new_folder(path) as temporary:
            fill(temporary)
    return path
