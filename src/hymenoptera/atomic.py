"""Files and folders that are there whole or not at all: made beside their place, then renamed."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it.

    Args:
        path: the file's final place; an older file there is replaced.
        content: the whole content; text is written as UTF-8 with its newlines as they are.

    Raises:
        OSError: the file cannot be written; the older file, if any, is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder once, whatever the number of processes that ask for it at the same time.

    The first process to get the lock (`.NAME.lock` beside the folder) fills a temporary folder
    and renames it; the others wait and find it there.

    Args:
        path: the folder's final place; where it exists already, nothing is done.
        fill: writes the content into the temporary folder it is given. When it raises, nothing
            is left behind and the error goes on to the caller.

    Returns:
        The path.
    """
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        if path.is_dir():  # another process made it while this one waited
            return path
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            fill(temporary)
            temporary.chmod(0o755)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return path
