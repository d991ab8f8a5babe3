"""Which jobs a sweep has: those of the command line, and those of the folder it goes on with."""

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hymenoptera.config import build
from hymenoptera.errors import RequestError
from hymenoptera.results.jobs import FILE, LOCK, Job, Manifest, read_manifest
from hymenoptera.sweeps.request import (
    Compose,
    Request,
    checked,
    comparable,
    difference,
    identity,
)


@dataclass(frozen=True)
class Planned:
    """A job before it has a number.

    Attributes:
        overrides: its own, as on a command line.
        composed: the config that they make, Hydra's node with it.
        config: the same, checked, without that node.
    """

    overrides: list[str]
    composed: DictConfig
    config: dict[str, Any]


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


def check_jobs(request: Request, compose: Compose, search: str) -> list[Planned]:
    """Compose and check every job, or a search's ends.

    Raises:
        RequestError: one of them cannot be run.
    """
    planned = []
    for overrides in request.ends() if search == "optuna" else request.combinations():
        composed = compose(overrides)
        planned.append(Planned(overrides, composed, checked(composed)))
    seen = set()
    for job in planned:
        data = job.config["data"]
        if data["folds"] is None and not data["test_fraction"]:
            continue
        key = json.dumps({k: v for k, v in data.items() if k != "batch_size"}, sort_keys=True)
        if key not in seen:  # are there enough pictures of each class?
            build(data).find()
            seen.add(key)
    return planned


def open_manifest(folder: Path, request: Request, planned: list[Planned], search: str) -> Manifest:
    """The folder's manifest, or a new one.

    Raises:
        RequestError: the folder holds anything else.
    """
    command = shlex.join(["python", *sys.argv])
    config = comparable(planned[0].config)
    if not (folder / FILE).is_file():
        if folder.exists() and any(p.name != LOCK for p in folder.iterdir()):
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


def numbered(manifest: Manifest, planned: list[Planned]) -> dict[int, Planned]:
    """The planned jobs of a grid by number; those that the manifest has not are added to it."""
    numbers = {job.config_hash: job.number for job in manifest.jobs}
    found = {}
    for job in planned:
        name = identity(job.config)
        if name not in numbers:
            numbers[name] = len(manifest.jobs)
            manifest.jobs.append(Job(numbers[name], job.overrides, name))
        found[numbers[name]] = job
    return dict(sorted(found.items()))


def make_ready(manifest: Manifest, job: Job) -> None:
    """Clear what a failed attempt left; an interrupted one goes on from its checkpoint."""
    folder = manifest.folder_of(job)
    goes_on = job.state == "interrupted" or (job.reason or "").startswith("killed")
    if not (goes_on and (folder / "checkpoints" / "last.ckpt").is_file()):
        shutil.rmtree(folder, ignore_errors=True)
