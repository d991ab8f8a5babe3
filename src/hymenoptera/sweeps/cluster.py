"""The jobs of a sweep as jobs of Slurm, through submitit.

(hydra-submitit-launcher is of no help here: it waits for all jobs before it tells of any, and it
sends jobs that are still in the queue a second time when the sweep is gone on with.)
"""

import json
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hydra.core.singleton import Singleton

from hymenoptera.atomic import write_file
from hymenoptera.errors import RequestError
from hymenoptera.results.jobs import Job
from hymenoptera.sweeps.engines import Task, run_elsewhere

log = logging.getLogger(__name__)

POLL_S = 0.5


@dataclass
class OnNode:
    """What runs on a node; it is pickled on the way there."""

    task: Task
    job: Job
    state: Any

    def __call__(self) -> None:
        """Run the job, from its last checkpoint where it has one."""
        # submitit has SIGTERM ignored; training takes it over once it has begun
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run_elsewhere(self.task, self.job, self.state)

    def checkpoint(self) -> Any:
        """Asked for by submitit when the time is up or the node is needed: back in the queue."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Cluster:
    """Sends jobs to Slurm, those that are started together as one array.

    They outlive this process: what a sweep that is gone on with finds in the queue, or running, it
    waits for, and does not send again.

    Args:
        task: the sweep.
        options: of submitit, by name; `executor` is slurm, or local for processes on this machine.
        most: jobs at a time; None for all.
        jobs: that the sweep has so far.

    Raises:
        RequestError: submitit is not installed, there is no Slurm, or an option is not known.
    """

    def __init__(
        self, task: Task, options: dict[str, Any], most: int | None, jobs: list[Job]
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise RequestError("sweep=slurm needs submitit: pip install -e '.[slurm]'") from error
        self._task = task
        self._folder = task.folder.resolve() / "submitit"
        self._most = most
        self._is_local = options.pop("executor") == "local"
        try:
            self._executor = submitit.AutoExecutor(
                self._folder, cluster="local" if self._is_local else "slurm"
            )
            self._executor.update_parameters(name=task.folder.name, **options)
        except (RuntimeError, NameError, ValueError, AssertionError) as error:
            with suppress(OSError):
                self._folder.rmdir()  # where it was made just now
            raise RequestError(f"sweep=slurm: {_hint(error)}") from error
        self._waiting: list[Job] = []
        self._sent: dict[int, tuple[Job, Any]] = {}
        kind = submitit.LocalJob if self._is_local else submitit.SlurmJob
        names = self._names()
        for job in jobs:
            if job.state != "done" and str(job.number) in names:
                handle: Any = kind(self._folder, names[str(job.number)])
                if not self._is_over(handle):
                    self._sent[job.number] = (job, handle)

    def is_free(self) -> bool:
        """Whether fewer jobs than wanted are there."""
        return self._most is None or len(self.running()) < self._most

    def start(self, job: Job) -> None:
        """Take the job; it is sent when it is waited for."""
        self._waiting.append(job)

    def running(self) -> list[Job]:
        """All that were taken: sent, queued or running."""
        return [*(job for job, _ in self._sent.values()), *self._waiting]

    def next_done(self) -> Job:
        """Send what was taken; wait for the first job to end."""
        if self._waiting:
            state = Singleton.get_state()
            work = [OnNode(self._task, job, state) for job in self._waiting]
            with self._executor.batch():
                handles = [self._executor.submit(one) for one in work]
            self._sent |= {
                job.number: (job, handle)
                for job, handle in zip(self._waiting, handles, strict=True)
            }
            self._waiting = []
            names = {str(n): handle.job_id for n, (_, handle) in self._sent.items()}
            write_file(self._folder / "jobs.json", json.dumps(self._names() | names) + "\n")
        while True:
            for number, (job, handle) in self._sent.items():
                if self._is_over(handle):
                    del self._sent[number]
                    if not (self._task.folder / str(number) / "summary.json").is_file():
                        log.error("job %d left no record; see %s", number, handle.paths.stderr)
                    return job
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Have each stop at its batch, which Slurm gives it half a minute for; drop the rest."""
        self._waiting = []
        handles = [handle for _, handle in self._sent.values()]
        try:
            for handle in handles:
                if self._is_local:
                    with suppress(ProcessLookupError):
                        os.kill(int(handle.job_id), signal.SIGTERM)
                else:
                    handle.cancel(check=False)
            while not all(map(self._is_over, handles)):
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            for handle in handles:
                handle.cancel(check=False)
            raise
        self._sent = {}

    def close(self) -> None:
        """Jobs that run are Slurm's."""

    def _names(self) -> dict[str, str]:
        """Slurm's name of each job that was sent, by the sweep's number."""
        path = self._folder / "jobs.json"
        names: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        return names

    def _is_over(self, handle: Any) -> bool:
        if not handle.done():
            return False
        # of a local job that another process began, submitit does not know whether it runs
        ended = not self._is_local or handle.paths.result_pickle.exists()
        return ended or not _is_alive(int(handle.job_id))


def _hint(error: Exception) -> str:
    text = str(error)
    if "srun" in text:
        return (
            "there is no srun here. Start it where sbatch works, or take "
            "sweep.cluster.executor=local to try it on this machine."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{lines[0]} sbatch's own options are sweep.cluster.slurm_NAME."


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
