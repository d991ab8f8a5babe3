"""A sweep from its command line to its table, whatever happens on the way."""

import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import Timeout
from hydra.core.utils import configure_log
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hymenoptera.config import check_values
from hymenoptera.errors import HymenopteraError, RequestError
from hymenoptera.launch import INTERRUPTED
from hymenoptera.results.jobs import Job, Manifest, lock_of
from hymenoptera.results.records import read_summary
from hymenoptera.sweeps.engines import Engine, InProcess, Task
from hymenoptera.sweeps.planning import Grid, check_jobs, make_ready, numbered, open_manifest
from hymenoptera.sweeps.request import read_request
from hymenoptera.sweeps.search import Search

log = logging.getLogger(__name__)


def run_sweep(
    config: DictConfig, context: HydraContext, function: TaskFunction, arguments: list[str]
) -> None:
    """Run what is not done of a sweep; print and write its results on every way out.

    Ends the process with status 1 where jobs failed, 130 where it was interrupted.

    Raises:
        RequestError: a bad request; no job has begun and no folder was made.
    """
    loader = context.config_loader

    def compose(overrides: list[str]) -> DictConfig:
        return loader.load_sweep_config(config, overrides)

    node: dict[str, Any] = OmegaConf.to_container(config.sweep, resolve=True)  # type: ignore[assignment]
    check_values({"sweep": node})  # no job has these keys
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    request = read_request(arguments, node["search"], loader)
    planned = check_jobs(request, compose, node["search"])
    folder = Path(config.hydra.sweep.dir)
    with _held(folder):
        manifest = open_manifest(folder, request, planned, node["search"])
        task = Task(config, context, function, folder)
        first = planned[0].config
        composed: dict[int, DictConfig] = {}
        if node["search"] == "optuna":
            plan: Grid | Search = Search(
                request, manifest, node["trials"], first["seed"], node["pruning"]
            )
        else:
            jobs = numbered(manifest, planned)
            plan = Grid([manifest.jobs[number] for number in jobs])
            composed = {number: job.composed for number, job in jobs.items()}
        if node["cluster"] is None and node["processes"] is None:
            engine: Engine = InProcess(task, composed)
        else:
            accelerator = first["trainer"]["accelerator"]
            engine = _engine(task, node, accelerator, plan.total, manifest.jobs)
        done = manifest.count("done")
        before = f", {done} done before" if done else ""
        log.info("sweep      %s: %d jobs%s", folder, plan.total, before)
        interrupted = _run(engine, plan, manifest)
        _end(manifest, interrupted)


def _engine(
    task: Task, node: dict[str, Any], accelerator: str, count: int, jobs: list[Job]
) -> Engine:
    """One that runs jobs elsewhere."""
    processes = node["processes"]
    if node["cluster"] is not None:
        from hymenoptera.sweeps.cluster import Cluster

        most = None if processes in ("auto", None) else int(processes)
        if most is None and node["search"] == "optuna":
            raise RequestError(
                "A search learns from trials that have ended: say how many are sent at a time, "
                "sweep.processes=4 for example."
            )
        return Cluster(task, dict(node["cluster"]), most, jobs)
    from hymenoptera.sweeps.processes import Processes, pick_processes

    return Processes(task, *pick_processes(processes, accelerator, count))


def _run(engine: Engine, plan: Grid | Search, manifest: Manifest) -> bool:
    """Run the plan's jobs; whether it was interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell has its background processes ignore it
    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    count = manifest.count("done")
    taken = engine.running()  # by a cluster, since an earlier call
    try:
        while True:
            while engine.is_free() and (job := plan.next_job()) is not None:
                if any(job is other for other in taken):
                    continue
                make_ready(manifest, job)
                engine.start(job)
                if isinstance(engine, InProcess):
                    log.info("\njob %d of %d: %s", job.number, plan.total, _own(manifest, job))
            if not engine.running():
                return False
            manifest.write(running=engine.running())
            job = engine.next_done()
            manifest.look_at(job)
            plan.done(job)
            count += 1
            if not isinstance(engine, InProcess):
                log.info("%4d of %d  %s", count, plan.total, _outcome(manifest, job))
    except (KeyboardInterrupt, SystemExit):
        log.warning("Stopping the sweep; once more leaves at once.")
        engine.stop()
        return True
    finally:
        engine.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        manifest.refresh()


def _own(manifest: Manifest, job: Job) -> str:
    own = [o for o in job.overrides if o.split("=")[0].lstrip("+") in manifest.swept]
    return " ".join(own) or "no overrides of its own"


def _outcome(manifest: Manifest, job: Job) -> str:
    best = (read_summary(manifest.folder_of(job)) or {}).get("best")
    result = f"{100 * best['val_accuracy']:5.1f} %" if best else "      -"
    why = "" if job.state == "done" else f"  {job.state}: {job.reason or 'goes on later'}"
    return f"job {job.number:<3} {result}  {_own(manifest, job)}{why}"


def _end(manifest: Manifest, interrupted: bool) -> None:
    from hymenoptera.results.sweep_files import show_sweep

    failed = manifest.count("failed")
    not_judged: HymenopteraError | None = None
    if not manifest.count("to do", "interrupted") and not interrupted:
        try:
            _judge_winner(manifest.folder)
        except HymenopteraError as error:  # the table is shown all the same
            not_judged = error
    show_sweep(manifest.folder)
    if failed:
        log.error("%d of %d jobs failed.", failed, len(manifest.jobs))
    if not_judged:
        log.error("%s", not_judged)
    if interrupted or failed or not_judged:
        what = "Interrupted. Go on" if interrupted else "Once the reason is gone, try again"
        log.info("%s with: %s", what, _again(manifest))
        sys.exit(INTERRUPTED if interrupted else 1)


def _again(manifest: Manifest) -> str:
    given = shlex.split(manifest.command)
    name = f"sweep.name={manifest.folder.name}"
    return shlex.join([*given, *([] if name in given else [name])])


def _judge_winner(folder: Path) -> None:
    """Judge the winner on the test set, where one is kept apart; only ever the winner."""
    from hymenoptera.results.sweeps import read_sweep

    winner = read_sweep(folder).winner
    if winner is None or not winner.summary["data"].get("test_count") or winner.test:
        return
    from hymenoptera.judging import judge_test

    judge_test(winner.folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder; one in which nothing was begun is removed again."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_of(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RequestError(f"{folder}: this sweep is running already.") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        for place in made:
            if any(place.iterdir()):
                break
            place.rmdir()
