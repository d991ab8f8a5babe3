"""A sweep from its command line to its table, whatever happens on the way."""

import json
import logging
import shlex
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import Timeout
from hydra.core.utils import configure_log
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hymenoptera.config import check_values
from hymenoptera.errors import RequestError
from hymenoptera.results.jobs import FILE, Job, Manifest, lock_of, read_manifest
from hymenoptera.sweeps.engines import Engine, InProcess, Launcher, Processes, Task, pick_processes
from hymenoptera.sweeps.request import (
    Compose,
    Request,
    checked,
    comparable,
    difference,
    identity,
    read_request,
)
from hymenoptera.sweeps.search import Search

log = logging.getLogger(__name__)

INTERRUPTED = 130


class Grid:
    """Hands out the jobs of a grid that are not done: new ones, failed ones, interrupted ones."""

    def __init__(self, jobs: list[Job]) -> None:
        self._to_do = [job for job in jobs if job.state != "done"]
        self.total = len(jobs)

    def next_job(self) -> Job | None:
        """The next one, by number."""
        return self._to_do.pop(0) if self._to_do else None

    def done(self, job: Job) -> None:
        """Nothing depends on what came out."""


def run_sweep(
    config: DictConfig, context: HydraContext, function: TaskFunction, arguments: list[str]
) -> None:
    """Run what is not done of a sweep; print and write its results on every way out.

    Ends the process with status 1 where jobs failed, 130 where it was interrupted.

    Raises:
        RequestError: a bad request; no job has begun and no folder was made.
    """
    from hymenoptera.launch import without_hydra

    def compose(overrides: list[str]) -> DictConfig:
        return without_hydra(context.config_loader.load_sweep_config(config, overrides))

    check_values({"sweep": OmegaConf.to_container(config.sweep, resolve=True)})  # no job has them
    node = config.sweep
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    request = read_request(arguments, node.search)
    planned = _check(request, compose, node.search)
    folder = Path(config.hydra.sweep.dir)
    with _lock(folder):
        manifest = _open_manifest(folder, request, planned, node.search)
        jobs = [manifest.jobs[number] for number in _numbered(manifest, planned)]
        if node.search == "optuna":
            seed = planned[0][1]["seed"]
            plan: Grid | Search = Search(request, manifest, node.trials, seed, node.pruning)
        else:
            plan = Grid(jobs)
        task = Task(config, context, function, folder)
        engine = _engine(task, node.processes, planned[0][1]["trainer"]["accelerator"], plan.total)
        done = manifest.count("done")
        before = f", {done} done before" if done else ""
        log.info("sweep      %s: %d jobs%s", folder, plan.total, before)
        interrupted = _run(engine, plan, manifest)
        _end(manifest, interrupted)


def _check(
    request: Request, compose: Compose, search: str
) -> list[tuple[list[str], dict[str, Any]]]:
    """Compose and check every job, or a search's ends; each with its overrides."""
    wanted = request.ends() if search == "optuna" else request.combinations()
    planned = [(overrides, checked(compose(overrides))) for overrides in wanted]
    seen = set()
    for _, config in planned:
        data = config["data"]
        if data["folds"] is None and not data["test_fraction"]:
            continue
        key = json.dumps({k: v for k, v in data.items() if k != "batch_size"}, sort_keys=True)
        if key not in seen:  # are there enough pictures of each class?
            from hymenoptera.config import build

            build(data).find()
            seen.add(key)
    return planned


def _open_manifest(
    folder: Path, request: Request, planned: list[tuple[list[str], dict[str, Any]]], search: str
) -> Manifest:
    """The folder's manifest, or a new one; refuse a folder that holds anything else."""
    command = shlex.join(["python", *sys.argv])
    config = comparable(planned[0][1])
    if not (folder / FILE).is_file():
        if folder.exists() and any(p.name != ".running.lock" for p in folder.iterdir()):
            raise RequestError(f"{folder} holds something else. Choose another sweep.name.")
        return Manifest(folder, request.swept, search, command, config)
    manifest = read_manifest(folder, mine=True)
    manifest.swept = list(dict.fromkeys([*manifest.swept, *request.swept]))
    other = difference(manifest.config, config, manifest.swept)
    if search != manifest.search:
        other = f"it is searched with sweep={manifest.search} there and sweep={search} here"
    if other:
        raise RequestError(
            f"{folder} holds another experiment: {other}.\nChoose another sweep.name, or repeat "
            f"its command: {manifest.command}"
        )
    manifest.command = command
    return manifest


def _numbered(manifest: Manifest, planned: list[tuple[list[str], dict[str, Any]]]) -> list[int]:
    """Numbers of the planned jobs; those that the manifest has not are added to it."""
    if manifest.search == "optuna":
        return []
    numbers = {job.config_hash: job.number for job in manifest.jobs}
    for overrides, config in planned:
        name = identity(config)
        if name not in numbers:
            numbers[name] = len(manifest.jobs)
            manifest.jobs.append(Job(numbers[name], overrides, name))
    return sorted({numbers[identity(config)] for _, config in planned})


def _engine(task: Task, processes: int | str | None, accelerator: str, jobs: int) -> Engine:
    if "_target_" in task.config.hydra.launcher and not str(
        task.config.hydra.launcher._target_
    ).endswith("BasicLauncher"):
        return Launcher(task)
    if processes is None:
        return InProcess(task)
    return Processes(task, *pick_processes(processes, accelerator, jobs))


def _run(engine: Engine, plan: Grid | Search, manifest: Manifest) -> bool:
    """Run the plan's jobs; whether it was interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    count = manifest.count("done")
    try:
        while True:
            while engine.is_free() and (job := plan.next_job()) is not None:
                engine.start(job, _make_ready(manifest, job))
                manifest.refresh(running=engine.running())
                if isinstance(engine, InProcess):
                    log.info("\njob %d of %d: %s", job.number, plan.total, _own(manifest, job))
            if not engine.running():
                return False
            job = engine.next_done()
            plan.done(job)
            manifest.refresh(running=engine.running())
            count += 1
            if not isinstance(engine, InProcess):
                log.info("%4d of %d  %s", count, plan.total, _outcome(manifest, job))
    except (KeyboardInterrupt, SystemExit):
        log.warning("Stopping the sweep; once more leaves at once.")
        engine.stop()
        return True
    finally:
        engine.close()
        signal.signal(signal.SIGTERM, before)
        manifest.refresh()


def _make_ready(manifest: Manifest, job: Job) -> list[str]:
    """Clear what a failed attempt left, or have an interrupted one go on: the overrides for it."""
    folder = manifest.folder_of(job)
    if (folder / "checkpoints" / "last.ckpt").is_file() and (
        job.state == "interrupted" or (job.reason or "").startswith("killed")
    ):
        quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
        return [f"resume='{quoted}'"]
    shutil.rmtree(folder, ignore_errors=True)
    return []


def _own(manifest: Manifest, job: Job) -> str:
    own = [o for o in job.overrides if o.split("=")[0].lstrip("+") in manifest.swept]
    return " ".join(own) or "no overrides of its own"


def _outcome(manifest: Manifest, job: Job) -> str:
    from hymenoptera.results.records import read_summary

    best = (read_summary(manifest.folder_of(job)) or {}).get("best")
    result = f"{100 * best['val_accuracy']:5.1f} %" if best else "      -"
    why = "" if job.state == "done" else f"  {job.state}: {job.reason or 'goes on later'}"
    return f"job {job.number:<3} {result}  {_own(manifest, job)}{why}"


def _end(manifest: Manifest, interrupted: bool) -> None:
    from hymenoptera.results.sweep_files import show_sweep

    left = manifest.count("to do", "interrupted")
    if not left and not interrupted:
        _judge_winner(manifest.folder)
    show_sweep(manifest.folder)
    failed = manifest.count("failed")
    if failed:
        log.error("%d of %d jobs failed.", failed, len(manifest.jobs))
    if interrupted or failed:
        what = (
            "Interrupted. Go on with" if interrupted else "Once the reason is gone, try again with"
        )
        log.info("%s: %s", what, _again(manifest))
    if interrupted or failed:
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


def _lock(folder: Path) -> Any:
    made: list[Path] = []
    place = folder
    while not place.exists():
        made.append(place)
        place = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    return _Locked(folder, made)


class _Locked:
    """Holds a sweep's folder; a folder in which nothing was begun is removed again."""

    def __init__(self, folder: Path, made: list[Path]) -> None:
        self._lock = lock_of(folder)
        self._made = made

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise RequestError(
                f"{Path(self._lock.lock_file).parent}: this sweep is running already."
            ) from error

    def __exit__(self, *error: Any) -> None:
        path = Path(self._lock.lock_file)
        path.unlink(missing_ok=True)
        self._lock.release()
        for place in self._made:
            if any(place.iterdir()):
                return
            place.rmdir()
