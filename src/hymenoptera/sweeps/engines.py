"""Where the jobs of a sweep run; here, in this process. Others are beside this module."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from hymenoptera.results.jobs import Job


@dataclass
class Task:
    """What an engine needs to know of the sweep.

    Attributes:
        config: composed for the sweep, Hydra's node with it.
        context: Hydra's.
        function: that runs a job's config.
        folder: the sweep's.
    """

    config: DictConfig
    context: HydraContext
    function: TaskFunction
    folder: Path

    def run(self, job: Job, composed: DictConfig | None = None) -> None:
        """Run a job in this process, from its last checkpoint where it has one.

        Args:
            job: of the sweep.
            composed: its config with Hydra's node, where that is at hand: it takes Hydra a tenth
                of a second.
        """
        config = composed or self.context.config_loader.load_sweep_config(
            self.config, job.overrides
        )
        folder = self.folder.resolve() / str(job.number)
        with read_write(config), open_dict(config):
            config.hydra.job.id = str(job.number)
            config.hydra.job.num = job.number
            config.hydra.sweep.dir = _literal(folder.parent)
            config.hydra.sweep.subdir = folder.name
            if (folder / "checkpoints" / "last.ckpt").is_file():
                config.resume = _literal(folder)
        run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


class Engine(Protocol):
    """Runs jobs. What became of one, its folder says."""

    def is_free(self) -> bool:
        """Whether another job may be started now."""

    def start(self, job: Job) -> None:
        """Start a job."""

    def running(self) -> list[Job]:
        """The jobs that were started and not yet handed back."""

    def next_done(self) -> Job:
        """Wait for a job to end, and hand it back."""

    def stop(self) -> None:
        """Have the running jobs stop at their batch, and wait for them."""

    def close(self) -> None:
        """Leave no process behind; nothing runs any more."""


class InProcess:
    """One job after the other in this process.

    Args:
        task: the sweep.
        composed: configs of jobs, by number, as far as they are at hand.
    """

    def __init__(self, task: Task, composed: dict[int, DictConfig]) -> None:
        self._task = task
        self._composed = composed
        self._job: Job | None = None

    def is_free(self) -> bool:
        """Whether the job that was started last was handed back."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Take the job; it runs when it is waited for."""
        self._job = job

    def running(self) -> list[Job]:
        """The one job."""
        return [] if self._job is None else [self._job]

    def next_done(self) -> Job:
        """Run it. SystemExit and KeyboardInterrupt of an interrupted job come through."""
        assert self._job is not None
        job, self._job = self._job, None
        self._task.run(job, self._composed.pop(job.number, None))
        logging_of = self._task.config.hydra
        configure_log(logging_of.hydra_logging, logging_of.verbose)  # closes the job's train.log
        return job

    def stop(self) -> None:
        """Nothing runs beside this call."""

    def close(self) -> None:
        """There is no other process."""


def run_elsewhere(task: Task, job: Job, state: Any) -> None:
    """Run a job in a process that has nothing of Hydra's state yet.

    Args:
        task: the sweep.
        job: of it.
        state: `Singleton.get_state()` of the process that began the sweep.
    """
    Singleton.set_state(state)
    setup_globals()
    with suppress(SystemExit, KeyboardInterrupt):  # interrupted: its record says so
        task.run(job)


def _literal(path: Path) -> str:
    """A path as a value of a config, where ${ would begin an interpolation."""
    return str(path).replace("${", "\\${")
