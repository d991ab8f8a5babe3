"""A sweep from its command line to its table, whatever happens on the way."""

import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import Timeout
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hymenoptera_sweeper import LAUNCHERS, _task
from hydra_plugins.hymenoptera_sweeper._plan import Composer, open_manifest, quoted, read_space
from hydra_plugins.hymenoptera_sweeper._search import Grid, Trials
from hymenoptera.errors import ConfigError, RunError, in_one_line
from hymenoptera.reports.jobs import Job, Manifest, lock_of, state_of
from hymenoptera.reports.record import read_summary

if TYPE_CHECKING:
    from hydra_plugins.hymenoptera_sweeper import HymenopteraSweeper

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's status for Ctrl-C
RECORD = "summary.json"
BEGAN = ".hydra/overrides.yaml"  # Hydra writes it anew each time that a job begins
POLL_S = 0.5


def run_sweep(sweeper: "HymenopteraSweeper", arguments: list[str]) -> list[JobReturn]:
    """Run what is not done of a sweep; print and write its results on every way out."""
    config, node = sweeper.config, sweeper.config.sweep
    loader = sweeper.context.config_loader
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    space = read_space(arguments, node.search, loader)
    composer = Composer(config, loader, space.choice)
    overrides = space.corners() if node.search == "optuna" else space.combinations()
    configs = [composer.check(own) for own in overrides]
    batch_size = _batch_size(config, sweeper.max_batch_size)
    folder = Path(config.hydra.sweep.dir)
    with _locked(folder):
        manifest = open_manifest(folder, space, configs[0], node.search)
        if node.search == "optuna":
            seed = int(configs[0].get("seed") or 0)
            trials = (node.trials, seed, bool(node.pruning))
            plan: Grid | Trials = Trials(space, manifest, composer, *trials)
        else:
            plan = Grid(overrides, configs, manifest, composer)
        OmegaConf.save(config, folder / "multirun.yaml")  # as Hydra's own sweeper does
        run = SweepRun(sweeper, manifest, plan, batch_size, space.choice)
        _end(manifest, interrupted=run.run())
        return run.returns


def _batch_size(config: DictConfig, wanted: int | None) -> int | None:
    """How many jobs are handed to the launcher together, None for all; checks what they need."""
    name = str(config.hydra.runtime.choices["hydra/launcher"])
    extra, package = LAUNCHERS.get(name, ("", "hydra"))
    search = config.sweep.search
    for what, needed, where in (
        (f"hydra/launcher={name}", package, extra),
        (f"sweep={search}", "optuna" if search == "optuna" else "hydra", "optuna"),
    ):
        if find_spec(needed) is None:
            raise ConfigError(f"{what} needs an extra: pip install -e '.[{where}]'")
    if name == "submitit_slurm" and shutil.which("srun") is None:
        raise ConfigError(
            "hydra/launcher=submitit_slurm: there is no srun here. Start it where sbatch works, or "
            "try it on this machine with hydra/launcher=submitit_local."
        )
    if name == "basic":
        return 1
    if search == "optuna" and wanted is None:
        wanted = _jobs_at_a_time(config)
        if wanted is None:
            raise ConfigError(
                "A search learns from trials that have ended: say how many run at a time, "
                "hydra.sweeper.max_batch_size=4 for example."
            )
    return wanted


def _jobs_at_a_time(config: DictConfig) -> int | None:
    """How many jobs the launcher runs at a time, if it says so."""
    n_jobs = config.hydra.launcher.get("n_jobs")
    if n_jobs is None:
        return None
    from joblib import effective_n_jobs

    return int(effective_n_jobs(n_jobs))


class SweepRun:
    """Hands jobs to Hydra's launcher until none is left."""

    def __init__(
        self,
        sweeper: "HymenopteraSweeper",
        manifest: Manifest,
        plan: Grid | Trials,
        batch_size: int | None,
        choice: list[str],
    ) -> None:
        self.returns: list[JobReturn] = []
        self._manifest, self._plan, self._choice = manifest, plan, choice
        self._batch_size = batch_size or max(1, plan.total)
        self._hydra = hydra = sweeper.config.hydra
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=sweeper.context,
            task_function=_task.JobTask(sweeper.task_function, manifest.folder.resolve()),
            config=sweeper.config,
        )
        self._in_process = isinstance(self._launcher, BasicLauncher)
        self._stopping = False
        self._queue: list[Job] = []
        self._killed: set[int] = set()  # jobs that ended with the launcher
        self._count = done = manifest.count("done")
        if not hydra.verbose:  # a launcher's own lines say what ours say
            package = type(self._launcher).__module__.rpartition(".")[0]
            logging.getLogger(package).setLevel(logging.WARNING)
        n_jobs = _jobs_at_a_time(sweeper.config)
        words = f"{plan.total} jobs" + (f", {done} done before" if done else "")
        words += "" if self._in_process else f", by {hydra.runtime.choices['hydra/launcher']}"
        words += f", {n_jobs} at a time" if n_jobs else ""
        log.info("sweep      %s: %s", manifest.folder, words)

    def run(self) -> bool:
        """Run all jobs; whether it was interrupted."""
        _task.begin(self._manifest.folder)
        # SIGINT too: a shell has its background processes ignore it
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.signal(number, self._interrupt) for number in numbers}
        try:
            while not self._stopping and (batch := self._next_batch()):
                self._launch(batch)
            while any(map(self._is_running, self._queue)):  # they stop too
                time.sleep(POLL_S)
        except (KeyboardInterrupt, SystemExit):
            self._stopping = True
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if "Joblib" in type(self._launcher).__name__:
                from joblib.externals.loky import get_reusable_executor

                # its workers would wait for more work, for minutes
                get_reusable_executor(reuse=True).shutdown(kill_workers=True)
            self._manifest.refresh()
        return self._stopping

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._in_process or self._stopping:
            raise KeyboardInterrupt
        self._stopping = True
        _task.stop(self._manifest.folder)
        log.warning("Stopping the jobs at their next batch; once more leaves at once.")

    def _next_batch(self) -> list[Job]:
        """Jobs to launch; none when all have ended, or are to stop."""
        while not self._stopping:
            self._queue += self._plan.next_jobs(self._batch_size - len(self._queue))
            free = [job for job in self._queue if not self._is_running(job)]
            if free or not self._queue:
                # one that was killed goes alone, so that it takes no other with it
                others = [job for job in free if job.number not in self._killed]
                batch = others[: self._batch_size] or free[:1]
                self._queue = [job for job in self._queue if job not in batch]
                return batch
            time.sleep(POLL_S)
        return []

    def _launch(self, batch: list[Job]) -> None:
        """Have the launcher run jobs, and see what became of each."""
        manifest = self._manifest
        for job in [job for job in batch if state_of(manifest.folder_of(job))[0] == "done"]:
            batch.remove(job)  # by a process that an earlier call has left
            self._ended(job)
        for folder in map(manifest.folder_of, batch):
            if folder.is_dir() and not (folder / "checkpoints" / "last.ckpt").is_file():
                shutil.rmtree(folder)  # a failed attempt; one with a checkpoint is resumed
        if not batch:
            return
        manifest.write(running=batch)
        began = {job.number: self._time_of(job, BEGAN) for job in batch}
        place = f"hydra.sweep.dir={quoted(str(manifest.folder.resolve()))}"
        overrides = [
            [*self._choice, *job.overrides, place, f"hydra.sweep.subdir={quoted(job.folder)}"]
            for job in batch
        ]
        error: Exception | None = None
        with self._watched(batch) as unseen:
            try:
                number = batch[0].number
                self.returns += self._launcher.launch(overrides, initial_job_idx=number)
            except KeyboardInterrupt:
                if not self._in_process:  # the second one
                    raise
                self._stopping = True
            except Exception as caught:  # joblib's if a worker is killed: all others are too
                error = caught
                log.debug("The launcher failed.", exc_info=error)
            finally:  # a job in this process has its own
                configure_log(self._hydra.hydra_logging, self._hydra.verbose)
        lost = [job for job in unseen if error and self._time_of(job, BEGAN) == began[job.number]]
        if error and len(lost) == len(batch):
            name = type(self._launcher).__name__
            raise RunError(f"{name} began no job: {in_one_line(error)}") from error
        for job in unseen:
            is_killed = error and not self._time_of(job, RECORD) and job.number not in self._killed
            if job in lost or is_killed or self._is_running(job):
                self._queue.append(job)
                self._killed |= {job.number} if is_killed and job not in lost else set()
            else:
                self._ended(job)

    @contextmanager
    def _watched(self, batch: list[Job]) -> Iterator[list[Job]]:
        """Show jobs of other processes as they end; gives those that were not seen to end."""
        unseen = list(batch)
        before = {job.number: self._time_of(job, RECORD) for job in batch}
        over = threading.Event()

        def watch() -> None:
            while not over.wait(POLL_S):
                for job in list(unseen):
                    now = self._time_of(job, RECORD)
                    if now != before[job.number] and not self._is_running(job):
                        unseen.remove(job)
                        self._ended(job)
                        self._manifest.write()

        thread = threading.Thread(target=watch, daemon=True)
        if not self._in_process:
            thread.start()
        yield unseen
        over.set()
        if thread.ident is not None:
            thread.join()

    def _ended(self, job: Job) -> None:
        """Show a job's line, and learn from it."""
        manifest = self._manifest
        manifest.update(job)
        if job.state == "to do":
            return  # stopped before it began
        self._plan.end(job)
        self._count += 1
        self._stopping |= self._in_process and job.state == "interrupted"
        total = max(self._plan.total, len(manifest.jobs))
        summary = read_summary(manifest.folder_of(job)) if job.state != "failed" else None
        accuracy = ((summary and summary.best) or {}).get("accuracy")
        result = "      -" if accuracy is None else f"{100 * accuracy:5.1f} %"
        own = [o for o in job.overrides if o.split("=")[0].lstrip("+") in manifest.swept]
        words = f"job {job.number:<3} {result}  {' '.join(own)}"
        if job.state != "done":
            words += f"  {job.state}: {job.reason or 'resumed the next time'}"
        elif summary and summary.pruned_after:
            words += f"  pruned after epoch {summary.pruned_after}"
        log.info("%4d of %d  %s", self._count, total, words)

    def _is_running(self, job: Job) -> bool:
        return _task.is_running(self._manifest.folder, self._manifest.folder_of(job))

    def _time_of(self, job: Job, name: str) -> int:
        """When a file of a job was last written, in ns; 0 if there is none."""
        path = self._manifest.folder_of(job) / name
        return path.stat().st_mtime_ns if path.exists() else 0


def _end(manifest: Manifest, *, interrupted: bool) -> None:
    """Evaluate the winner on the test set, show the table, end with the sweep's exit status."""
    from hymenoptera.reports.sweep_files import show_sweep

    error: Exception | None = None
    if not manifest.count("to do", "interrupted", "running") and not interrupted:
        try:
            _test_winner(manifest.folder)
        except Exception as caught:  # the table is shown all the same
            log.debug("The test set was not evaluated.", exc_info=caught)
            error = caught
    show_sweep(manifest.folder)
    failed = manifest.count("failed")
    if failed:
        log.error("%d of %d jobs failed.", failed, len(manifest.jobs))
    if error:
        log.error("The best job was not evaluated on the test set: %s", in_one_line(error))
    if interrupted or error or manifest.count("failed", "interrupted"):
        what = "Interrupted. Resume" if interrupted else "Once the reason is gone, try again"
        log.info("%s with: %s", what, manifest.command)
        sys.exit(INTERRUPTED if interrupted else 1)


def _test_winner(folder: Path) -> None:
    """Evaluate the winner on the held-out test set, if there is one; only ever the winner."""
    from hymenoptera.reports.sweep import read_sweep

    winner = read_sweep(folder).winner
    if winner and winner.summary.data.get("test_count") and not winner.summary.test:
        from hymenoptera.cli.evaluation import test_best

        test_best(winner.folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder, so that only one process at a time runs the sweep."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_of(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"{folder}: this sweep is running already.") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        if is_new and not any(folder.iterdir()):  # no job could begin
            folder.rmdir()
