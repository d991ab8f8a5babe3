"""Which jobs come next: those of a grid that are not done, or the trials of an Optuna study."""

from typing import Any

from hydra_plugins.hymenoptera_sweeper._plan import (
    Composer,
    Interval,
    Space,
    add_job,
    identity,
)
from hymenoptera.errors import RunError
from hymenoptera.reports.jobs import Job, Manifest
from hymenoptera.reports.record import read_summary


class Grid:
    """Hands out the jobs of a grid that are not done: new, failed and interrupted ones."""

    def __init__(
        self,
        overrides: list[list[str]],
        configs: list[dict[str, Any]],
        manifest: Manifest,
        composer: Composer,
    ) -> None:
        known = {job.config_hash: job for job in manifest.jobs}
        found = {}
        for own, name in zip(overrides, map(identity, configs), strict=True):
            if name not in known:
                known[name] = add_job(manifest, Job(len(manifest.jobs), own, name), composer)
            found[known[name].number] = known[name]
        self.total = len(found)
        self._to_do = [found[number] for number in sorted(found) if found[number].state != "done"]

    def next_jobs(self, count: int) -> list[Job]:
        """The next ones, by number; at most so many."""
        taken, self._to_do = self._to_do[:count], self._to_do[count:]
        return taken

    def end(self, job: Job) -> None:
        """Nothing depends on the result."""


class Trials:
    """Hands out the trials of a search: Optuna's TPE, as a study that outlives its processes.

    A trial's number is its job's. A job that fails leaves its trial open, which the sampler counts
    as a bad one; the next call with the same name runs it again.
    """

    def __init__(
        self,
        space: Space,
        manifest: Manifest,
        composer: Composer,
        count: int,
        seed: int,
        pruning: bool,
    ) -> None:
        self.total = max(count, len(manifest.jobs))
        self._space, self._manifest, self._composer = space, manifest, composer
        self._seed = seed
        self._study(pruning=pruning)
        for job in manifest.jobs:  # the study does not know, if the process was killed
            self.end(job)
        self._again = [job for job in manifest.jobs if job.state != "done"]

    def next_jobs(self, count: int) -> list[Job]:
        """The next trials, at most so many: first those that were begun and have no result."""
        taken, self._again = self._again[:count], self._again[count:]
        while len(taken) < count and len(self._manifest.jobs) < self.total:
            taken.append(self._next())
        return taken

    def end(self, job: Job) -> None:
        """Tell the study what came out."""
        from optuna.trial import TrialState

        study = self._study()
        if job.state != "done" or study.trials[job.number].state.is_finished():
            return
        summary = read_summary(self._manifest.folder_of(job))
        if summary is not None and summary.pruned_after:
            study.tell(job.number, state=TrialState.PRUNED)
        elif summary is None or summary.accuracy is None:
            raise RunError(f"A search maximises val/accuracy, and job {job.number} recorded none.")
        else:
            study.tell(job.number, summary.accuracy)

    def _study(self, **options: Any) -> Any:
        from hymenoptera.callbacks.pruning import open_study

        return open_study(self._manifest.folder, **options)

    def _next(self) -> Job:
        # a sampler of its own for each trial, else a restart would draw the same numbers again
        study = self._study(seed=self._seed + len(self._manifest.jobs))
        trial = study.ask()
        overrides = list(self._space.fixed)
        for key, choices in self._space.swept.items():
            if not isinstance(choices, Interval):
                value = trial.suggest_categorical(key, choices)
            else:
                suggest = trial.suggest_int if choices.whole else trial.suggest_float
                value = choices.shown(suggest(key, choices.low, choices.high, log=choices.log))
            overrides.append(f"{key}={value}")
        job = Job(trial.number, overrides, config_hash=f"trial {trial.number}")
        return add_job(self._manifest, job, self._composer)
