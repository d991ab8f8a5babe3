"""What runs a job wherever a launcher puts it, around the project's own task function.

Hydra's launchers know nothing of a sweep's state. So each job looks after itself: it holds a lock
while it runs, does nothing if it is done or another process runs it (a cluster may start a job
twice), continues from its own checkpoint, stops when the sweep does, and takes a GPU of its own.
"""

import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process
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


@dataclass
class JobTask:
    """Runs a job in its run folder; it is pickled on its way to another process."""

    function: TaskFunction  # of the project, which runs a config
    folder: Path  # the sweep's, absolute

    def __call__(self, config: DictConfig) -> Any:
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
            _take_gpu(config.trainer)
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
    """Make this process the sweep's, whose jobs may run."""
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


def end_workers(*, at_once: bool) -> None:
    """End joblib's worker processes, which would wait for more work for minutes.

    One that is killed leaves semaphores behind (tqdm's), of which Python warns.
    """
    if "joblib" in sys.modules:
        from joblib.externals.loky import reusable_executor

        if (executor := reusable_executor._executor) is not None:
            executor.terminate(kill_workers=at_once)


def _take_gpu(trainer: DictConfig) -> None:
    """Give this process, one of joblib's, one of several GPUs for its life."""
    number = current_process().name.rpartition("-")[2]
    is_one = trainer.get("devices", 1) in (1, "1", "auto")
    if not is_one or trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return
    import torch

    gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(
        map(str, range(torch.cuda.device_count()))  # does not begin to use them
    )
    if "," in gpus and number.isdigit():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.split(",")[int(number) % (gpus.count(",") + 1)]
