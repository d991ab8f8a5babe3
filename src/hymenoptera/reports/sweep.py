"""The results of a sweep: its jobs grouped into configurations, compared with the best."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from hymenoptera.reports.jobs import Job, Manifest, read_manifest
from hymenoptera.reports.metrics import read_predictions
from hymenoptera.reports.record import Summary, read_summary
from hymenoptera.reports.statistics import (
    Array,
    Comparison,
    compare_with_best,
    own_values,
    repeated_interval,
    selection_bias,
)

REPEATED = ("seed", "data.fold")  # keys whose values are repeats of a configuration


@dataclass(frozen=True)
class JobResult:
    """A job and what it left."""

    job: Job
    folder: Path
    overrides: dict[str, str]  # by key
    summary: Summary  # empty without a record

    @property
    def accuracy(self) -> float | None:
        """Best validation accuracy, of a job that is done."""
        return self.summary.accuracy if self.job.state == "done" else None

    @cached_property
    def correct(self) -> dict[tuple[str, str], float]:
        """1 or 0 for each validation image, by name and label: another label, another image."""
        found = None if self.accuracy is None else read_predictions(self.folder)
        return {} if found is None else found.outcomes


@dataclass
class Configuration:
    """The jobs that differ in seed or fold alone."""

    values: dict[str, str]  # of the swept keys
    jobs: list[JobResult] = field(default_factory=list)
    mean: float | None = None  # accuracy over the jobs that are done, on the scale 0 to 1
    deviation: float | None = None  # its standard deviation over them
    interval: tuple[float, float] | None = None  # 95 %, over repeats and images
    count: int = 0  # of images
    comparison: Comparison | None = None  # with the best, if it is another and shares something

    @property
    def done(self) -> list[JobResult]:
        """The repeats that have a result."""
        return [job for job in self.jobs if job.accuracy is not None]

    @property
    def network(self) -> dict[str, float | None]:
        """Parameters in millions, milliseconds an image and megabytes; None if unknown."""
        summary = self.done[0].summary if self.done else Summary("")
        count, time_ms = summary.model.get("parameter_count"), summary.features or {}
        return {
            "parameters_m": None if count is None else count / 1e6,
            "ms_per_image": time_ms.get("ms_per_image"),
            "size_mb": summary.model.get("size_mb"),
        }


@dataclass
class Sweep:
    """The results of a sweep."""

    manifest: Manifest
    swept: list[str]  # keys of which configurations differ
    shared: list[str]  # overrides that all jobs have
    configurations: list[Configuration]  # in the order of their first jobs
    best: Configuration | None = None  # the one with the highest mean
    bias: float | None = None  # by how much that is too high for being the best, on average

    @property
    def jobs(self) -> list[JobResult]:
        """All of them, by number."""
        jobs = (job for one in self.configurations for job in one.jobs)
        return sorted(jobs, key=lambda result: result.job.number)

    @property
    def winner(self) -> JobResult | None:
        """The most accurate run of the best configuration, the first of equals."""
        runs = self.best.done if self.best is not None else []
        return max(runs, key=lambda one: (one.accuracy or 0, -one.job.number), default=None)


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep's folder, as far as it has come.

    Raises:
        ConfigError: it is not one.
    """
    manifest = read_manifest(folder)
    pairs = {job.number: [o.partition("=") for o in job.overrides] for job in manifest.jobs}
    given = {number: {k.lstrip("+~"): v for k, _, v in own} for number, own in pairs.items()}
    keys = list(dict.fromkeys(key for overrides in given.values() for key in overrides))
    differing = [k for k in keys if len({overrides.get(k) for overrides in given.values()}) > 1]
    swept = [key for key in keys if key in differing or key in manifest.swept]
    configurations: dict[tuple[tuple[str, str], ...], Configuration] = {}
    for job in manifest.jobs:
        overrides, path = given[job.number], manifest.folder_of(job)
        values = {k: overrides[k] for k in swept if k in overrides and k not in REPEATED}
        known = job.state in ("done", "interrupted", "running")
        summary = (read_summary(path) if known else None) or Summary(job.state)
        own = configurations.setdefault(tuple(values.items()), Configuration(values))
        own.jobs.append(JobResult(job, path, overrides, summary))
    shared = [f"{k}={v}" for k, v in next(iter(given.values()), {}).items() if k not in swept]
    sweep = Sweep(manifest, swept, shared, list(configurations.values()))
    if done := [one for one in sweep.configurations if one.done]:
        _compare(sweep, done)
    return sweep


def _compare(sweep: Sweep, done: list[Configuration]) -> None:
    values = _values(done)
    for one, own in zip(done, map(own_values, values), strict=True):
        accuracies = [job.accuracy for job in one.done if job.accuracy is not None]
        one.mean = float(np.mean(accuracies))
        one.deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
        one.count = own.shape[1]
        one.interval = repeated_interval(own) if own.size else None
    # one of which a repeat is missing may be lucky: it is the best only among its like
    complete = [one for one in done if len(one.done) == len(one.jobs)] or done
    sweep.best = max(complete, key=lambda one: one.mean or 0)
    comparisons = compare_with_best(values, done.index(sweep.best))
    for one, comparison in zip(done, comparisons, strict=True):
        one.comparison = comparison
    everywhere = np.all([(~np.isnan(one)).any(axis=0) for one in values], axis=0)
    common = [own[~np.isnan(own).all(axis=1)] for own in (one[:, everywhere] for one in values)]
    sweep.bias = selection_bias(common) if all(part.size for part in common) else None


def _values(configurations: list[Configuration]) -> list[Array]:
    """(K, N) of 0, 1 and NaN for each configuration: all repeats and images that any has."""

    def repeat(job: JobResult) -> tuple[str, ...]:
        return tuple(job.overrides.get(key, "") for key in REPEATED)

    jobs = [job for one in configurations for job in one.done]
    rows = sorted({repeat(job) for job in jobs})
    images = sorted({image for job in jobs for image in job.correct})
    columns = {image: column for column, image in enumerate(images)}
    arrays = [np.full((len(rows), len(columns)), np.nan) for _ in configurations]
    for values, one in zip(arrays, configurations, strict=True):
        for job in one.done:
            places = [columns[image] for image in job.correct]
            values[rows.index(repeat(job)), places] = list(job.correct.values())
    return arrays
