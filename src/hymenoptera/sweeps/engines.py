"""Where the jobs of a sweep run: in this process, in several on this machine, or on a cluster."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hymenoptera.errors import RequestError
from hymenoptera.results.jobs import Job

log = logging.getLogger(__name__)

SHARE_OF_MEMORY = 8  # processes at the most where their number is picked: each has its own torch


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

    def overrides(self, job: Job, more: list[str]) -> list[str]:
        """The job's overrides, with its folder's place."""
        place = str(self.folder.resolve()).replace("\\", "\\\\").replace("'", "\\'")
        return [
            *job.overrides,
            *more,
            f"hydra.sweep.dir='{place}'",
            f"hydra.sweep.subdir={job.number}",
        ]


class Engine(Protocol):
    """Runs jobs. What became of one, its folder says."""

    def is_free(self) -> bool:
        """Whether another job may be started now."""

    def start(self, job: Job, more: list[str]) -> None:
        """Start a job, with more overrides."""

    def running(self) -> list[Job]:
        """The jobs that were started and not yet handed back."""

    def next_done(self) -> Job:
        """Wait for a job to end, and hand it back."""

    def stop(self) -> None:
        """Have the running jobs stop at their batch, and wait for them."""

    def close(self) -> None:
        """Leave no process behind; nothing runs any more."""


class InProcess:
    """One job after the other in this process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._job: Job | None = None
        self._more: list[str] = []

    def is_free(self) -> bool:
        """Whether the job that was started last was handed back."""
        return self._job is None

    def start(self, job: Job, more: list[str]) -> None:
        """Take the job; it runs when it is waited for."""
        self._job, self._more = job, more

    def running(self) -> list[Job]:
        """The one job."""
        return [] if self._job is None else [self._job]

    def next_done(self) -> Job:
        """Run it. SystemExit and KeyboardInterrupt of an interrupted job come through."""
        assert self._job is not None
        job, self._job = self._job, None
        _run(self._task, self._task.overrides(job, self._more), job.number)
        logging_of = self._task.config.hydra
        configure_log(logging_of.hydra_logging, logging_of.verbose)  # closes the job's train.log
        return job

    def stop(self) -> None:
        """Nothing runs beside this call."""

    def close(self) -> None:
        """There is no other process."""


class Processes:
    """Several jobs at a time, each in a process of its own, on joblib's loky.

    A slot has an executor of one worker, which stays for the next job. So a worker that is killed
    takes down its own job only. (hydra-joblib-launcher shares one executor between all jobs: with
    one worker killed, all that are left are lost.)
    """

    def __init__(self, task: Task, count: int, gpus: list[str]) -> None:
        try:
            from joblib.externals.loky.process_executor import ProcessPoolExecutor
        except ImportError as error:
            raise RequestError(
                "sweep.processes needs joblib: pip install -e '.[joblib]'"
            ) from error
        self._task = task
        self._free = list(range(count))
        self._jobs: dict[Future[int], tuple[Job, int]] = {}
        self._pids: dict[int, int] = {}
        self._executors: dict[int, Any] = {}
        shares = divide(_cores(), count)

        def make(slot: int) -> Any:
            environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
            environment["OMP_NUM_THREADS"] = environment["OMP_NUM_THREADS"] or str(
                len(shares[slot])
            )
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
            return ProcessPoolExecutor(
                max_workers=1,
                env=environment,
                initializer=_begin_worker,
                initargs=(os.getpid(), shares[slot], str(task.folder / "workers.log")),
            )

        self._make: Callable[[int], Any] = make

    def is_free(self) -> bool:
        """Whether a slot is."""
        return bool(self._free)

    def start(self, job: Job, more: list[str]) -> None:
        """Give the job to a free slot."""
        slot = self._free.pop(0)
        if slot not in self._executors:
            self._executors[slot] = self._make(slot)
            self._pids[slot] = self._executors[slot].submit(os.getpid).result()
        future = self._executors[slot].submit(
            _run_in_worker,
            self._task,
            self._task.overrides(job, more),
            job.number,
            Singleton.get_state(),
        )
        self._jobs[future] = (job, slot)

    def running(self) -> list[Job]:
        """In all slots."""
        return [job for job, _ in self._jobs.values()]

    def next_done(self) -> Job:
        """Wait for the first one. A worker that was killed is replaced."""
        done, _ = wait(self._jobs, return_when=FIRST_COMPLETED)
        future = done.pop()
        job, slot = self._jobs.pop(future)
        self._free.append(slot)
        if future.exception() is not None:
            log.debug("job %d: its process was lost", job.number, exc_info=future.exception())
            self._executors.pop(slot).shutdown(wait=False, kill_workers=True)
        return job

    def stop(self) -> None:
        """Send each worker the signal that this process had; then wait."""
        for _, slot in self._jobs.values():
            with suppress(ProcessLookupError):
                os.kill(self._pids[slot], signal.SIGINT)
        try:
            wait(self._jobs)
        except KeyboardInterrupt:
            for pid in self._pids.values():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise

    def close(self) -> None:
        """End the workers, which would wait for jobs for minutes, and this process for them."""
        for executor in self._executors.values():
            executor.shutdown(wait=True, kill_workers=True)


class Launcher:
    """All jobs at once through a launcher plugin of Hydra, which waits for them."""

    def __init__(self, task: Task) -> None:
        from hydra.core.plugins import Plugins

        self._task = task
        self._plugin = Plugins.instance().instantiate_launcher(
            hydra_context=task.context, task_function=task.function, config=task.config
        )
        self._waiting: list[tuple[Job, list[str]]] = []
        self._launched: list[Job] = []

    def is_free(self) -> bool:
        """Until they are launched."""
        return not self._launched

    def start(self, job: Job, more: list[str]) -> None:
        """Take the job."""
        self._waiting.append((job, more))

    def running(self) -> list[Job]:
        """All that were taken."""
        return [*self._launched, *(job for job, _ in self._waiting)]

    def next_done(self) -> Job:
        """Launch what was taken, as one array; hand the jobs back when all have ended."""
        if self._waiting:
            overrides = [self._task.overrides(job, more) for job, more in self._waiting]
            self._launched = [job for job, _ in self._waiting]
            self._waiting = []
            try:
                self._plugin.launch(overrides, initial_job_idx=0)
            except Exception as error:  # of a job that was killed: the others have their records
                log.error("%s", str(error).strip().splitlines()[0] or type(error).__name__)
        return self._launched.pop(0)

    def stop(self) -> None:
        """The cluster's jobs are the user's to cancel."""

    def close(self) -> None:
        """The plugin has waited for them."""


def divide(cores: list[int], count: int) -> list[list[int]]:
    """Share cores out evenly, each at least one; with more shares than cores, in turns."""
    if count >= len(cores):
        return [[cores[slot % len(cores)]] for slot in range(count)]
    ends = [round(slot * len(cores) / count) for slot in range(count + 1)]
    return [cores[begin:end] for begin, end in pairwise(ends)]


def pick_processes(asked: int | str, accelerator: str, jobs: int) -> tuple[int, list[str]]:
    """How many processes, and which GPUs are handed out to them."""
    gpus: list[str] = []
    if accelerator in ("auto", "gpu", "cuda"):
        import torch

        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        named = [name for name in visible.split(",") if name]
        count = torch.cuda.device_count()
        gpus = named[:count] if named else [str(number) for number in range(count)]
    if asked != "auto":
        return int(asked), gpus
    return max(1, min(jobs, len(gpus) or min(len(_cores()), SHARE_OF_MEMORY))), gpus


def _cores() -> list[int]:
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return sorted(affinity(0))


def _run(task: Task, overrides: list[str], number: int) -> None:
    config = task.context.config_loader.load_sweep_config(task.config, overrides)
    with open_dict(config):
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
    run_job(
        hydra_context=task.context,
        task_function=task.function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _run_in_worker(task: Task, overrides: list[str], number: int, state: Any) -> int:
    Singleton.set_state(state)
    setup_globals()
    try:
        _run(task, overrides, number)
    except (SystemExit, KeyboardInterrupt):  # interrupted: its record says so
        return 1
    return 0


def _begin_worker(parent: int, cores: list[int], log_path: str) -> None:
    """Own cores, own process group (Ctrl-C is the parent's to pass on), no console."""
    os.setpgrp()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    output = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
