"""What a sweep says: its jobs grouped into settings, compared with the best, and who won."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hymenoptera.results.jobs import Manifest, State, read_manifest
from hymenoptera.results.optimism import optimism_of_best
from hymenoptera.results.paired_tests import against_best
from hymenoptera.results.records import read_answers, read_epochs, read_summary, read_test
from hymenoptera.results.statistics import Array, own_answers, repeated_interval

REPEATED = ("seed", "data.fold")
"""Keys whose values are repeats of a setting, not settings."""

LEVEL = 0.05
Verdict = Literal["best", "same as best", "worse", "not compared", ""]


@dataclass(frozen=True)
class JobResult:
    """A job, with what it left.

    Attributes:
        number: of the job.
        folder: its run folder.
        state: as of `Manifest`.
        reason: why it failed.
        given: its overrides as they were given.
        overrides: by key, without + or ~.
        summary: its summary.json; empty where there is none.
    """

    number: int
    folder: Path
    state: State
    reason: str | None
    given: list[str]
    overrides: dict[str, str]
    summary: dict[str, Any]

    @property
    def accuracy(self) -> float | None:
        """Best validation accuracy, of a job that is done."""
        best = self.summary.get("best")
        return best["val_accuracy"] if best and self.state == "done" else None

    @property
    def test(self) -> dict[str, Any] | None:
        """How it did on the test set, where it was judged there."""
        return read_test(self.folder)

    @cached_property
    def right(self) -> dict[tuple[str, str], float]:
        """1 or 0 for each validation picture, by path and label: with another, it is another."""
        answers = {} if self.accuracy is None else read_answers(self.folder)
        return {(path, label): float(label == said) for path, (label, said) in answers.items()}

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """Rows of its metrics.csv."""
        return read_epochs(self.folder)


@dataclass
class Setting:
    """The jobs that differ in seed or fold alone.

    Attributes:
        values: of the swept keys.
        jobs: its repeats.
        mean: accuracy over the repeats that are done, on the scale 0 to 1; None without any.
        deviation: standard deviation over them, from two on.
        interval: 95 %, over repeats and pictures; of a single run Wilson's.
        count: validation pictures that the interval is from.
        verdict: against the best.
        p: of the comparison, corrected; None for the best.
    """

    values: dict[str, str]
    jobs: list[JobResult] = field(default_factory=list)
    mean: float | None = None
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    count: int = 0
    verdict: Verdict = ""
    p: float | None = None

    @property
    def done(self) -> list[JobResult]:
        """The repeats that have a result."""
        return [job for job in self.jobs if job.accuracy is not None]


@dataclass
class Sweep:
    """A sweep's results.

    Attributes:
        folder: the sweep's.
        manifest: its jobs as they are on disk.
        swept: keys of which settings differ.
        shared: overrides that all jobs have.
        settings: in the order of their first jobs.
        best: the setting with the highest mean.
        optimism: by how much its accuracy is too high for being the best of them, on average.
    """

    folder: Path
    manifest: Manifest
    swept: list[str]
    shared: list[str]
    settings: list[Setting]
    best: Setting | None = None
    optimism: float | None = None

    @property
    def setting_keys(self) -> list[str]:
        """Keys that any setting has a value of."""
        return list(dict.fromkeys(key for setting in self.settings for key in setting.values))

    @property
    def jobs(self) -> list[JobResult]:
        """All of them, by number."""
        return sorted((j for s in self.settings for j in s.jobs), key=lambda j: j.number)

    @property
    def winner(self) -> JobResult | None:
        """The most accurate run of the best setting, the first of equals."""
        if self.best is None:
            return None
        return max(self.best.done, key=lambda job: (job.accuracy or 0, -job.number))

    @property
    def is_of_one_data_set(self) -> bool:
        """Whether all jobs that are done have the same pictures, to the byte."""
        done = [job for job in self.jobs if job.accuracy is not None]
        hashes = {(job.summary.get("data") or {}).get("manifest_hash") for job in done}
        return len(hashes - {None}) < 2


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder, as far as it has come.

    Raises:
        RequestError: it is not one.
    """
    manifest = read_manifest(folder)
    given = {job.number: _by_key(job.overrides) for job in manifest.jobs}
    keys = list(dict.fromkeys(key for overrides in given.values() for key in overrides))
    differing = [k for k in keys if len({overrides.get(k) for overrides in given.values()}) > 1]
    swept = [key for key in keys if key in differing or key in manifest.swept]
    settings: dict[tuple[str | None, ...], Setting] = {}
    setting_keys = [key for key in swept if key not in REPEATED]
    for job in manifest.jobs:
        overrides = given[job.number]
        values = {key: overrides[key] for key in setting_keys if key in overrides}
        path = manifest.folder_of(job)
        summary = read_summary(path) or {}
        result = JobResult(
            job.number, path, job.state, job.reason, job.overrides, overrides, summary
        )
        settings.setdefault(tuple(values.items()), Setting(values)).jobs.append(result)  # type: ignore[arg-type]
    shared = [f"{k}={v}" for k, v in next(iter(given.values()), {}).items() if k not in swept]
    sweep = Sweep(folder, manifest, swept, shared, list(settings.values()))
    _compare(sweep)
    return sweep


def _by_key(overrides: list[str]) -> dict[str, str]:
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def _compare(sweep: Sweep) -> None:
    """Fill in the settings' figures, the best one and its optimism."""
    with_results = [setting for setting in sweep.settings if setting.done]
    if not with_results:
        return
    for setting in with_results:
        accuracies = [job.accuracy for job in setting.done if job.accuracy is not None]
        setting.mean = float(np.mean(accuracies))
        setting.deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
        setting.verdict = "not compared"
    # a setting of which a repeat is missing may be lucky: it is the best only among its like
    whole = [s for s in with_results if len(s.done) == len(s.jobs)] or with_results
    sweep.best = max(whole, key=lambda setting: setting.mean or 0)
    sweep.best.verdict = "best"
    answers = _answers(with_results)
    for setting, values in zip(with_results, answers, strict=True):
        own = own_answers(values)
        setting.count = own.shape[1]
        setting.interval = repeated_interval(own) if own.size else None
    best = with_results.index(sweep.best)
    for setting, p in zip(with_results, against_best(answers, best), strict=True):
        if p is not None:
            setting.p = p
            setting.verdict = "worse" if p <= LEVEL else "same as best"
    common = [_in_common(values, answers) for values in answers]
    sweep.optimism = optimism_of_best(common) if all(part.size for part in common) else None


def _answers(settings: list[Setting]) -> list[Array]:
    """(K, N) of 0, 1 and NaN for each setting: all repeats and pictures that any has."""
    repeats = sorted({_repeat(job) for setting in settings for job in setting.done})
    pictures = sorted({picture for s in settings for job in s.done for picture in job.right})
    column = {picture: number for number, picture in enumerate(pictures)}
    arrays = []
    for setting in settings:
        values = np.full((len(repeats), len(pictures)), np.nan)
        for job in setting.done:
            row = repeats.index(_repeat(job))
            for picture, right in job.right.items():
                values[row, column[picture]] = right
        arrays.append(values)
    return arrays


def _repeat(job: JobResult) -> tuple[str, ...]:
    return tuple(job.overrides.get(key, "") for key in REPEATED)


def _in_common(values: Array, settings: list[Array]) -> Array:
    """Of one setting's answers, its own repeats and the pictures that all settings have."""
    everywhere = np.all([(~np.isnan(other)).any(axis=0) for other in settings], axis=0)
    part = values[:, everywhere]
    return part[~np.isnan(part).all(axis=1)]
