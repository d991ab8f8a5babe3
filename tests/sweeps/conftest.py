"""Fixtures of the sweeps' tests: the app in place of train.py, and what a sweep left."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conftest import Ended, run, start
from hymenoptera.reports.jobs import Manifest, read_manifest

APP = "tests/sweeps/app.py"
FIXED = ("-m", "data=drawn", "sweep.name=s", "trainer.max_epochs=2")


class Sweeping:
    """Starts the sweep `s` in a folder, and looks at what it left."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.folder = cwd / "runs" / "s"

    def __call__(self, *overrides: str, **environment: str) -> Ended:
        return run(APP, (*FIXED, *overrides), self.cwd, environment)

    def raw(self, *arguments: str, **environment: str) -> Ended:
        return run(APP, arguments, self.cwd, environment)

    def stopped(
        self, command: Sequence[str], when: Callable[[], object], number: int = signal.SIGKILL
    ) -> int | None:
        """Start a sweep, send it a signal when something has happened, and wait for its end."""
        process = self.start(*command)
        self.wait_for(when)
        os.kill(process.pid or 0, number)
        process.join(timeout=60)
        return process.exitcode

    def start(self, *overrides: str, **environment: str) -> multiprocessing.Process:
        return start(APP, (*FIXED, *overrides), self.cwd, environment)

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)

    @property
    def states(self) -> list[str]:
        return [job.state for job in self.manifest.jobs]

    def records(self) -> dict[str, int]:
        """When each job's record was written."""
        paths = self.folder.glob("*/summary.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in paths}

    def epochs(self, job: str) -> list[int]:
        """The epochs that a job's processes trained."""
        path = self.folder / job / "epochs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[0]) for line in lines]

    def pids(self) -> set[str]:
        """Of the processes that trained."""
        files = self.folder.glob("*/epochs.txt")
        return {line.split()[1] for file in files for line in file.read_text().splitlines()}

    @staticmethod
    def wait_for(happened: Callable[[], object], timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def sweeping(tmp_path: Path) -> Sweeping:
    return Sweeping(tmp_path)
