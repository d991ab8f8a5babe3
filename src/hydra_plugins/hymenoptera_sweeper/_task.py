"""What runs a job wherever a launcher puts it, around the project's own task function.

Hydra's launchers know nothing of a sweep's state. So each job looks after itself: it holds a lock
while it runs, does nothing if it is done or another process runs it (a cluster may start a job
twice), continues from its own checkpoint, stops when the sweep does, and takes a GPU of its own.
"""

import logging
import os
import shutil
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from hymenoptera.reports.jobs import state_of

PLACE = ".jobs"  # in the sweep's folder: locks, and the file that stops all jobs
STOP = "stop"
POLL_S = 0.5

_sweeper_pid: int | None = None  # of this process, if it runs the sweep itself
_gpu: FileLock | None = None  # of this process, for its life


@dataclass
class JobTask:
    """Runs a job; it is pickled on its way to another process.

    Attributes:
        function: of the project, which runs a config.
        folder: the sweep's, absolute.
    """

    function: TaskFunction
    folder: Path

    def __call__(self, config: DictConfig) -> Any:
        """Run a job in its run folder, from its last checkpoint if it has one."""
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        with suppress(Timeout), lock_of_job(self.folder, folder).acquire(timeout=0):
            if state_of(folder)[0] == "done":
                return None
            has_trained = (folder / "checkpoints" / "last.ckpt").is_file()
            if self._is_stopped():
                if not has_trained:  # Hydra has just made the folder
                    shutil.rmtree(folder)
                return None
            if has_trained:
                with read_write(config), open_dict(config):
                    config.resume = str(folder)
            for handler in [] if hydra.verbose else logging.getLogger().handlers:
                if type(handler) is logging.StreamHandler:  # train.log has what it would print
                    handler.setLevel(logging.CRITICAL)
            return self.function(config) if _sweeper_pid == os.getpid() else self._run(config)
        return None

    def _run(self, config: DictConfig) -> Any:
        """Run it in a process of the launcher's; None if it was interrupted."""
        is_cluster = "SUBMITIT_EXECUTOR" in os.environ
        if not is_cluster:
            with suppress(OSError):
                os.setpgrp()  # Ctrl-C is for the sweep, which stops its jobs
            _take_gpu(self.folder / PLACE, config.trainer)
        for number in (signal.SIGINT, signal.SIGTERM):  # submitit ignores SIGTERM
            signal.signal(number, signal.default_int_handler)
        over = threading.Event()
        parent = None if is_cluster else os.getppid()
        threading.Thread(target=self._watch, args=(over, parent), daemon=True).start()
        try:
            return self.function(config)
        except KeyboardInterrupt:
            return None
        finally:
            over.set()

    def _watch(self, over: threading.Event, parent: int | None) -> None:
        """Interrupt this process when the sweep is to stop, or its process is gone."""
        while not over.wait(POLL_S):
            if self._is_stopped() or parent not in (None, os.getppid()):
                os.kill(os.getpid(), signal.SIGINT)
                return

    def _is_stopped(self) -> bool:
        return (self.folder / PLACE / STOP).exists()


def begin(folder: Path) -> None:
    """Make this process the sweep's, and let its jobs run."""
    global _sweeper_pid
    _sweeper_pid = os.getpid()
    (folder / PLACE).mkdir(exist_ok=True)
    (folder / PLACE / STOP).unlink(missing_ok=True)


def stop(folder: Path) -> None:
    """Have all jobs of a sweep stop at their batch, and those that wait not begin."""
    (folder / PLACE / STOP).touch()


def lock_of_job(folder: Path, job_folder: Path) -> FileLock:
    """What a process holds while it runs a job of the sweep in a folder."""
    name = str(job_folder.resolve().relative_to(folder.resolve())).replace(os.sep, "_")
    return FileLock(folder / PLACE / f"{name}.lock")


def is_running(folder: Path, job_folder: Path) -> bool:
    """Whether a process runs a job of the sweep in a folder."""
    lock = lock_of_job(folder, job_folder)
    if Path(lock.lock_file).exists():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
    return False


def _take_gpu(place: Path, trainer: DictConfig) -> None:
    """Give this process one of several GPUs, for its life: the next that no other one has."""
    global _gpu
    is_one = trainer.get("devices", 1) in (1, "1", "auto")
    if _gpu is not None or not is_one or trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return
    import torch

    gpus = torch.cuda.device_count()  # does not begin to use them
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = names or [str(number) for number in range(gpus)]
    for slot in count() if gpus > 1 else ():
        with suppress(Timeout):
            _gpu = FileLock(place / f"gpu_{slot}.lock")
            _gpu.acquire(timeout=0)
            os.environ["CUDA_VISIBLE_DEVICES"] = names[slot % gpus]
            return
