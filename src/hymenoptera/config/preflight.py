"""Before and after a run: its config is checked before its folder exists, which is then its own."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from hymenoptera.config.launched import rank, task_overrides
from hymenoptera.config.validation import check
from hymenoptera.errors import ConfigError

RESULTS = ("summary.json", "checkpoints")
# what there is of a run before its training begins, in Hydra's names
WRITTEN_FIRST = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "train.log")


class RunFolder:
    """A run folder that this process has for as long as it lives; made if it does not exist.

    Only one that `resumes` may hold a run.

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
            for name in {*WRITTEN_FIRST} - self._before:
                (self.path / name).unlink(missing_ok=True)
        self.release()
        with suppress(OSError):  # stops at the first folder that is not empty
            for folder in (self.path / ".hydra", *self._made):
                folder.rmdir()


TAKEN: list[RunFolder] = []  # what this process has, until the command ends


class Preflight(Callback):
    """Hydra's callback: checks a run's config and takes its folder; a sweep checks its jobs itself.

    Hydra turns an Exception of a callback into a warning; `run_command` takes it from SystemExit.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """End the process if the config is invalid, before Hydra makes the run folder."""
        HydraConfig.instance().set_config(config)  # ${hydra:...} looks there
        try:
            self._check(config)
        except Exception as error:
            raise SystemExit(error) from error

    def _check(self, config: DictConfig) -> None:
        for override in task_overrides():
            if override.lstrip("+").startswith(("sweep.", "sweep=")):
                raise ConfigError(f"{override} is for a sweep: add -m.")
        folder = Path(config.hydra.run.dir)
        is_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # by torchrun
        has_checkpoint = (folder / "checkpoints" / "last.ckpt").is_file()
        if is_restarted and has_checkpoint and config.resume is None:
            config.resume = str(folder)
        resume = check(config, files=rank() == 0)["resume"]
        if rank() == 0:
            resumed = () if resume is None else (Path(resume), *Path(resume).parents)
            is_resumed = folder.resolve() in [path.resolve() for path in resumed]
            TAKEN.append(RunFolder(folder, resumes=is_resumed or is_restarted))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """End the process with the error of a run that failed, before Hydra prints it."""
        if config.hydra.mode == RunMode.RUN and job_return.status == JobStatus.FAILED:
            raise SystemExit(job_return._return_value)
