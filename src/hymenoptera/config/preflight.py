"""Hydra's callback of this project: a run is checked before its folder exists."""

import os
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from hymenoptera.config.launched import rank
from hymenoptera.config.run_folder import TAKEN, RunFolder
from hymenoptera.config.validation import check
from hymenoptera.errors import ConfigError


class Preflight(Callback):
    """Checks a run's config and takes its folder; a sweep checks its jobs itself.

    Hydra turns an Exception of a callback into a warning; `run_command` takes it from SystemExit.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """End the process if the config is invalid, before Hydra makes the run folder."""
        try:
            self._check(config)
        except Exception as error:
            raise SystemExit(error) from error

    def _check(self, config: DictConfig) -> None:
        for override in config.hydra.overrides.task:
            if override.lstrip("+").partition("=")[0].split(".")[0] == "sweep":
                raise ConfigError(f"{override} is for a sweep: add -m.")
        folder = Path(config.hydra.run.dir)
        is_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # by torchrun
        has_checkpoint = (folder / "checkpoints" / "last.ckpt").is_file()
        if is_restarted and has_checkpoint and config.resume is None:
            config.resume = str(folder)
        resume = check(config, files=rank() == 0)["resume"]
        if rank() > 0:
            return
        resumed = () if resume is None else (Path(resume), *Path(resume).parents)
        is_resumed = folder.resolve() in [path.resolve() for path in resumed]
        TAKEN.append(RunFolder(folder, resumes=is_resumed or is_restarted))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """End the process with the error of a run that failed, before Hydra prints it."""
        if config.hydra.mode == RunMode.RUN and job_return.status == JobStatus.FAILED:
            raise SystemExit(job_return._return_value)
