"""The run folder as one process's own: no run overwrites another, and nothing else is deleted."""

import logging
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hymenoptera.errors import ConfigError

RESULTS = ("summary.json", "checkpoints")
# what there is of a run before its training begins, in Hydra's names
WRITTEN_FIRST = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "train.log")


class RunFolder:
    """A run folder that this process has for as long as it lives; made if it does not exist.

    Args:
        path: the folder.
        resumes: whether it may hold a run, which is resumed.

    Raises:
        ConfigError: it holds a run, or another process is writing to it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, *, resumes: bool) -> None:
        self.path = path.absolute()
        self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"{path}: another run is writing to this folder.") from error
        self._before = {name for name in WRITTEN_FIRST if (self.path / name).exists()}
        if not resumes and any((self.path / name).exists() for name in (*RESULTS, ".hydra")):
            self.release()
            raise ConfigError(
                f"hydra.run.dir={path}: this folder holds a run. Continue that run with "
                f"resume={path}, or choose another folder."
            )

    def release(self) -> None:
        """Give up the folder; other processes may have it."""
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()  # while it is held: it may be another's afterwards
        self._lock.release()

    def abandon(self) -> None:
        """Give up the folder, less what this process has made in it if training has not begun."""
        if not any((self.path / name).exists() for name in RESULTS):
            logging.shutdown()  # closes train.log
            for name in WRITTEN_FIRST:
                if name not in self._before:
                    (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                (self.path / ".hydra").rmdir()
        self.release()
        with suppress(OSError):  # stops at the first folder that is not empty
            for folder in self._made:
                folder.rmdir()


TAKEN: list[RunFolder] = []  # what this process has, until the command ends
