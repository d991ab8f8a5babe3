"""What a sweep consists of, on disk: its manifest, and the state of each of its jobs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from hymenoptera.atomic import write_file
from hymenoptera.errors import RequestError
from hymenoptera.results.records import read_summary

SCHEMA_VERSION = 1
FILE = "manifest.json"
LOCK = ".running.lock"
State = Literal["done", "failed", "interrupted", "running", "to do"]


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        number: of the job and its folder, for good.
        overrides: its own, as on a command line; the swept keys' values among them.
        config_hash: of the config that they make: the job's identity.
        state: as last seen.
        reason: why it failed.
    """

    number: int
    overrides: list[str]
    config_hash: str
    state: State = "to do"
    reason: str | None = None


@dataclass
class Manifest:
    """A sweep's manifest.json.

    Attributes:
        folder: the sweep's, with a folder for each job, named by its number.
        swept: keys that have several values.
        search: "grid" or "optuna".
        command: the latest command line.
        config: of the first job, by dotted key, less what no result depends on.
        jobs: by number.
    """

    folder: Path
    swept: list[str]
    search: str
    command: str
    config: dict[str, Any]
    jobs: list[Job] = field(default_factory=list)

    def folder_of(self, job: Job) -> Path:
        """The job's run folder."""
        return self.folder / str(job.number)

    def look_at(self, job: Job) -> None:
        """Look a job's state up on disk; it is not running."""
        job.state, job.reason = state_of(self.folder_of(job))

    def refresh(self) -> None:
        """Look all jobs up, of which none is running, and write the manifest."""
        for job in self.jobs:
            self.look_at(job)
        self.write()

    def write(self, *, running: Sequence[Job] = ()) -> None:
        """Write the file, whole or not at all; first mark jobs as running."""
        for job in running:
            job.state, job.reason = "running", None
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del content["folder"]
        write_file(self.folder / FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def count(self, *states: State) -> int:
        """How many jobs are in one of the states."""
        return sum(job.state in states for job in self.jobs)


def read_manifest(folder: Path, *, mine: bool = False) -> Manifest:
    """Read a sweep's manifest, with the jobs' states as they are now.

    Args:
        folder: the sweep's.
        mine: whether this process holds the sweep's lock: then nobody else runs its jobs.

    Raises:
        RequestError: there is none, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise RequestError(f"{folder} is not a sweep's folder: it has no {FILE}.")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        del content["schema_version"]
        jobs = [Job(**job) for job in content.pop("jobs")]
        manifest = Manifest(folder, **content, jobs=jobs)
    except (ValueError, TypeError, KeyError) as error:
        raise RequestError(f"{path} cannot be read: {error}.") from error
    alive = not mine and is_running(folder)
    for job in manifest.jobs:
        if not (alive and job.state == "running"):
            manifest.look_at(job)
    return manifest


def state_of(folder: Path) -> tuple[State, str | None]:
    """State of a job that is not running, by what its folder holds, and why it failed."""
    if not folder.is_dir():
        return "to do", None
    summary = read_summary(folder)
    if summary is None:
        return "failed", "killed: it ended without a record"
    if summary["status"] == "failed":
        return "failed", summary.get("error", "no reason given").splitlines()[0]
    return ("done" if summary["status"] == "completed" else "interrupted"), None


def lock_of(folder: Path) -> FileLock:
    """What a process holds while it runs the sweep in a folder; the system frees it at its end."""
    return FileLock(folder / LOCK)


def is_running(folder: Path) -> bool:
    """Whether a process is running the sweep."""
    if not (folder / LOCK).exists():
        return False
    try:
        with lock_of(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True
