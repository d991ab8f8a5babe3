"""A sweep from its command line to its table, whatever happens on the way."""

import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import Timeout
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from hydra_plugins.hymenoptera_sweeper import MAX_PICKED_JOBS, _task
from hydra_plugins.hymenoptera_sweeper._plan import Composer, open_manifest, read_space
from hydra_plugins.hymenoptera_sweeper._search import Grid, Trials
from hymenoptera.config.launched import typed
from hymenoptera.config.resume import quoted
from hymenoptera.errors import ConfigError, RunError, in_one_line
from hymenoptera.reports.jobs import Job, Manifest, is_held, lock_of, state_of
from hymenoptera.reports.record import Summary, read_summary
from hymenoptera.reports.tables import format_duration

if TYPE_CHECKING:
    from hydra_plugins.hymenoptera_sweeper import HymenopteraSweeper

log = logging.getLogger(__name__)

Plan = Grid | Trials
INTERRUPTED = 130  # the shell's status for Ctrl-C
POLL_S = 0.5


def run_sweep(sweeper: "HymenopteraSweeper", arguments: list[str]) -> None:
    """Run what is not done of a sweep; print and write its results on every way out."""
    config, node = sweeper.config, sweeper.config.sweep
    loader = sweeper.context.config_loader
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    space = read_space(arguments, node.search, loader)
    composer = Composer(config, loader, space.choice)
    overrides = space.corners() if node.search == "optuna" else space.combinations()
    configs = [composer.check(own) for own in overrides]
    folder = Path(config.hydra.sweep.dir)
    with _locked(folder):
        manifest = open_manifest(folder, space, node.search)
        if node.search == "optuna":
            seed = int(configs[0].get("seed") or 0)
            plan: Plan = Trials(space, manifest, composer, node.trials, seed, bool(node.pruning))
        else:
            plan = Grid(overrides, configs, manifest, composer)
        OmegaConf.save(config, folder / "multirun.yaml")  # as Hydra's own sweeper does
        interrupted = SweepRun(sweeper, manifest, plan, space.choice).run()
        _end(manifest, interrupted=interrupted)


class SweepRun:
    """Hands jobs to Hydra's launcher until none is left."""

    def __init__(
        self, sweeper: "HymenopteraSweeper", manifest: Manifest, plan: Plan, choice: list[str]
    ) -> None:
        self._manifest, self._plan, self._choice = manifest, plan, choice
        self._hydra = hydra = sweeper.config.hydra
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=sweeper.context,
            task_function=_task.JobTask(sweeper.task_function, manifest.folder.resolve()),
            config=sweeper.config,
        )
        self._in_process = isinstance(self._launcher, BasicLauncher)
        self._stopping = False
        before = [self._summary(job) for job in manifest.jobs if job.state == "done"]
        self._best = max([one.accuracy for one in before if one and one.accuracy], default=-1.0)
        self._began, self._ended_now = time.monotonic(), 0
        self._count = done = manifest.count("done")
        words = f"{plan.total} jobs" + (f", {done} done before" if done else "")
        words += "" if self._in_process else f", by {hydra.runtime.choices['hydra/launcher']}"
        together = MAX_PICKED_JOBS if isinstance(plan, Trials) else plan.total
        if n_jobs := hydra.launcher.get("n_jobs"):
            from joblib import effective_n_jobs

            n_jobs = int(effective_n_jobs(n_jobs))
            words += f", {n_jobs} at a time"
            together = n_jobs if isinstance(plan, Trials) else together
        self._batch_size = 1 if self._in_process else sweeper.max_batch_size or max(1, together)
        if not hydra.verbose:  # a launcher's own lines say what ours say
            package = type(self._launcher).__module__.rpartition(".")[0]
            logging.getLogger(package).setLevel(logging.WARNING)
        log.info("sweep      %s: %s", manifest.folder, words)

    def run(self) -> bool:
        _task.begin(self._manifest.folder)
        # SIGINT too: a shell has its background processes ignore it
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.signal(number, self._interrupt) for number in numbers}
        lost: list[Job] = []
        at_once = True
        try:
            while not self._stopping and (batch := lost or self._plan.next_jobs(self._batch_size)):
                lost = self._launch(batch)
            at_once = False
        except KeyboardInterrupt:
            self._stopping = True
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            _task.end_workers(at_once=at_once)
            self._manifest.refresh()
        return self._stopping

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._in_process or self._stopping:
            raise KeyboardInterrupt
        self._stopping = True
        _task.stop(self._manifest.folder)
        log.warning("Stopping the jobs at their next batch; once more leaves at once.")

    def _launch(self, batch: list[Job]) -> list[Job]:
        """Have the launcher run jobs; those that it began no work on, if it failed."""
        manifest = self._manifest
        self._wait(batch)
        for job in batch:
            folder = manifest.folder_of(job)
            is_resumed = (folder / "checkpoints" / "last.ckpt").is_file()
            if folder.is_dir() and not is_resumed and state_of(folder)[0] != "done":
                shutil.rmtree(folder)  # a failed attempt
        manifest.write(running=batch)
        place = f"hydra.sweep.dir={quoted(manifest.folder.resolve())}"
        overrides = [
            [*self._choice, *job.overrides, place, f"hydra.sweep.subdir={quoted(Path(job.folder))}"]
            for job in batch
        ]
        error: Exception | None = None
        with self._watched(batch) as unseen:
            try:
                self._launcher.launch(overrides, initial_job_idx=batch[0].number)
                self._wait(batch)
            except KeyboardInterrupt:
                self._stopping = True
                if not self._in_process:  # the second one
                    raise
            except Exception as caught:  # joblib's if a worker is killed: all others are too
                error = caught
                log.debug("The launcher failed.", exc_info=error)
            finally:  # a job in this process has its own
                configure_log(self._hydra.hydra_logging, self._hydra.verbose)
        lost = [job for job in unseen if not manifest.folder_of(job).is_dir()] if error else []
        if error and len(lost) == len(batch):
            name = type(self._launcher).__name__
            raise RunError(f"{name} started no job: {in_one_line(error)}") from error
        for job in unseen:
            if job not in lost:
                self._ended(job)
        return lost

    @contextmanager
    def _watched(self, batch: list[Job]) -> Iterator[list[Job]]:
        """Show jobs of other processes as they end; gives those that were not seen to end."""
        unseen = list(batch)
        before = {job.number: self._recorded_ns(job) for job in batch}
        over = threading.Event()

        def watch() -> None:
            while not over.wait(POLL_S):
                for job in list(unseen):
                    if self._recorded_ns(job) != before[job.number] and not self._is_running(job):
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
        manifest = self._manifest
        manifest.update(job)
        if job.state == "to do":
            return  # stopped before it began
        self._plan.end(job)
        self._count += 1
        total = max(self._plan.total, len(manifest.jobs))
        summary = self._summary(job) if job.state != "failed" else None
        accuracy = summary.accuracy if summary else None
        result = "      -" if accuracy is None else f"{100 * accuracy:5.1f} %"
        own = [typed(o) for o in job.overrides if o.split("=")[0].lstrip("+") in manifest.swept]
        took = format_duration(summary.durations.get("total_s", 0.0)) if summary else "-"
        words = f"job {job.number:<3} {result} {took:>8}  {' '.join(own)}"
        self._ended_now += 1
        left_s = (time.monotonic() - self._began) / self._ended_now * (total - self._count)
        words += f"  (about {format_duration(left_s)} to go)" if left_s > 0 else ""
        if job.state != "done":
            words += f"  {job.state}: {job.reason or 'resumed the next time'}"
        elif summary and summary.pruned_after:
            words += f"  pruned after epoch {summary.pruned_after}"
        if accuracy is not None and accuracy > self._best:
            self._best = accuracy
            words += "  best so far"
        log.info("%4d of %d  %s", self._count, total, words)

    def _wait(self, batch: list[Job]) -> None:
        """Wait for jobs that a process of an earlier call, which was killed, still runs."""
        while any(map(self._is_running, batch)):
            time.sleep(POLL_S)

    def _is_running(self, job: Job) -> bool:
        return is_held(_task.lock_of_job(self._manifest.folder, self._manifest.folder_of(job)))

    def _summary(self, job: Job) -> Summary | None:
        return read_summary(self._manifest.folder_of(job))

    def _recorded_ns(self, job: Job) -> int:
        path = self._manifest.folder_of(job) / "summary.json"
        return path.stat().st_mtime_ns if path.exists() else 0


def _end(manifest: Manifest, *, interrupted: bool) -> None:
    """Evaluate the winner, only it, on a held-out test set; show the table, end the process."""
    from hymenoptera.reports.sweep import read_sweep
    from hymenoptera.reports.sweep_files import show_sweep

    error: Exception | None = None
    if not manifest.count("to do", "interrupted", "running") and not interrupted:
        try:
            winner = read_sweep(manifest.folder).winner
            if winner and winner.summary.data.get("test_count") and not winner.summary.test:
                from hymenoptera.cli.evaluation import test_best

                test_best(winner.folder)
        except Exception as caught:  # the table is shown all the same
            log.debug("The test set was not evaluated.", exc_info=caught)
            error = caught
    show_sweep(manifest.folder)
    if failed := manifest.count("failed"):
        log.error("%d of %d jobs failed.", failed, len(manifest.jobs))
    if error:
        log.error("The best job was not evaluated on the test set: %s", in_one_line(error))
    if interrupted or error or manifest.count("failed", "interrupted"):
        what = "Interrupted. Resume" if interrupted else "Once the reason is gone, try again"
        log.info("%s with: %s", what, manifest.command)
        sys.exit(INTERRUPTED if interrupted else 1)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
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
