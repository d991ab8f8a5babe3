"""What a sweep consists of, on disk: its manifest, and the state of each of its jobs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout

from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import read_summary, write_json

SCHEMA_VERSION = 2
FILE = "manifest.json"
LOCK = ".running.lock"
State = Literal["done", "failed", "interrupted", "running", "to do"]
STATES: tuple[State, ...] = get_args(State)


@dataclass
class Job:
    """One run of a sweep."""

    number: int  # for good
    overrides: list[str]  # its own, as on a command line; the swept keys' values among them
    config_hash: str  # of the config that they make: the job's identity
    folder: str = ""  # relative to the sweep's; empty for the job's number
    state: State = "to do"  # as last seen
    reason: str | None = None  # why it failed


@dataclass
class Manifest:
    """A sweep's manifest.json."""

    folder: Path  # the sweep's; not in the file
    swept: list[str]  # keys that have several values
    search: str  # "grid" or "optuna"
    command: str  # the latest command line, quoted for a shell, with all that it needs
    jobs: list[Job] = field(default_factory=list)

    def folder_of(self, job: Job) -> Path:
        """The job's run folder."""
        return self.folder / (job.folder or str(job.number))

    def update(self, job: Job) -> None:
        """Read the state of a job that is not running."""
        job.state, job.reason = state_of(self.folder_of(job))

    def refresh(self) -> None:
        """Read the states of all jobs, of which none is running, and write the manifest."""
        for job in self.jobs:
            self.update(job)
        self.write()

    def write(self, *, running: Sequence[Job] = ()) -> None:
        """Write the file, whole or not at all; first mark jobs as running."""
        for job in running:
            job.state, job.reason = "running", None
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del content["folder"]
        write_json(self.folder / FILE, content)

    def count(self, *states: State) -> int:
        """How many jobs are in one of the states."""
        return sum(job.state in states for job in self.jobs)


def read_manifest(folder: Path, *, locked: bool = False) -> Manifest:
    """Read a sweep's manifest, with the jobs' states as they are now.

    Args:
        folder: the sweep's.
        locked: whether this process holds the sweep's lock, so that nobody else runs its jobs.

    Raises:
        ConfigError: there is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{folder} is not a sweep's folder: it has no {FILE}.")
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["schema_version"]
    jobs = [Job(**job) for job in content.pop("jobs")]
    manifest = Manifest(folder, **content, jobs=jobs)
    alive = not locked and is_held(lock_of(folder))
    for job in jobs:
        if not (alive and job.state == "running"):
            manifest.update(job)
    return manifest


def state_of(folder: Path) -> tuple[State, str | None]:
    """State of a job that is not running, by what its folder holds, and why it failed."""
    if not folder.is_dir():
        return "to do", None
    try:
        summary = read_summary(folder)
    except ConfigError as error:
        return "failed", str(error)
    if summary is None:
        return "failed", "killed: it ended without a record"
    if summary.status == "failed":
        return "failed", (summary.error or "no reason given").splitlines()[0]
    return ("done" if summary.status == "completed" else "interrupted"), None


def lock_of(folder: Path) -> FileLock:
    """What a process holds while it runs the sweep in a folder."""
    return FileLock(folder / LOCK)


def is_held(lock: FileLock) -> bool:
    """Whether a process holds a lock."""
    try:
        if Path(lock.lock_file).exists():
            lock.acquire(timeout=0)
            lock.release()
    except Timeout:
        return True
    return False
