"""The jobs of a sweep in several processes on this machine."""

import logging
import os
import signal
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from itertools import pairwise
from typing import Any

from hydra.core.singleton import Singleton

from hymenoptera.cores import usable_cores
from hymenoptera.data.room import JOBS_AT_ONCE
from hymenoptera.errors import RequestError
from hymenoptera.parent import end_with_parent
from hymenoptera.results.jobs import Job
from hymenoptera.sweeps.engines import Task, run_elsewhere

log = logging.getLogger(__name__)

SHARE_OF_MEMORY = 8  # processes at the most where their number is picked: each has its own torch


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
        self._jobs: dict[Future[None], tuple[Job, int]] = {}
        self._pids: dict[int, int] = {}
        self._executors: dict[int, Any] = {}
        self._make_executor = ProcessPoolExecutor
        self._shares = divide(usable_cores(), count)
        self._gpus = gpus

    def is_free(self) -> bool:
        """Whether a slot is."""
        return bool(self._free)

    def start(self, job: Job) -> None:
        """Give the job to a free slot."""
        slot = self._free.pop(0)
        if slot not in self._executors:
            self._executors[slot] = self._worker(slot)
            self._pids[slot] = self._executors[slot].submit(os.getpid).result()
        future = self._executors[slot].submit(run_elsewhere, self._task, job, Singleton.get_state())
        self._jobs[future] = (job, slot)

    def _worker(self, slot: int) -> Any:
        cores = self._shares[slot]
        environment = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(len(cores)),
            JOBS_AT_ONCE: str(len(self._shares)),
        }
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        return self._make_executor(
            max_workers=1,
            env=environment,
            initializer=_begin_worker,
            initargs=(os.getpid(), cores, str(self._task.folder / "workers.log")),
        )

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
    return max(1, min(jobs, len(gpus) or min(len(usable_cores()), SHARE_OF_MEMORY))), gpus


def _begin_worker(parent: int, cores: list[int], log_path: str) -> None:
    """Own cores, own process group (Ctrl-C is the parent's to pass on), no console."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    output = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    end_with_parent(parent)
