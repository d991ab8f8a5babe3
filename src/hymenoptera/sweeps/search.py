"""Optuna's search over ranges, as a study that survives restarts."""

from typing import Any

from hymenoptera.results.jobs import Job, Manifest
from hymenoptera.results.records import read_summary
from hymenoptera.study import open_study
from hymenoptera.sweeps.request import Interval, Request, shown


class Search:
    """Hands out trials as jobs; a trial's number is its job's.

    Args:
        request: what is searched.
        manifest: of the sweep.
        trials: how many in all.
        seed: of the sampler.
        pruning: whether hopeless trials are stopped early.
    """

    def __init__(
        self, request: Request, manifest: Manifest, trials: int, seed: int, pruning: bool
    ) -> None:
        self._request = request
        self._manifest = manifest
        self._trials = trials
        self._seed = seed
        open_study(manifest.folder, pruning=pruning)
        # a trial that had begun when its process ended is still open: its job runs again
        self._again = [
            job
            for job in manifest.jobs
            if job.state not in ("done", "failed") or (job.reason or "").startswith("killed")
        ]
        for job in manifest.jobs:  # the study may not have been told, if the process was killed
            if job not in self._again:
                self.done(job)

    @property
    def total(self) -> int:
        """How many jobs there will be."""
        return max(self._trials, len(self._manifest.jobs))

    def next_job(self) -> Job | None:
        """The next trial to run; None when there are enough."""
        import optuna

        if self._again:
            return self._again.pop(0)
        if len(self._manifest.jobs) >= self._trials:
            return None
        # a sampler of its own for each trial, else a restart would draw the same numbers again
        study = open_study(self._manifest.folder, seed=self._seed + len(self._manifest.jobs))
        known = {job.number for job in self._manifest.jobs}
        for lost in study.trials:  # asked for, but killed before the manifest knew
            if lost.state.is_finished() or lost.number in known:
                continue
            if set(lost.params) == {*self._request.intervals, *self._request.values}:
                values = {key: self._override(key, value) for key, value in lost.params.items()}
                return self._add(lost.number, values)
            study.tell(lost.number, state=optuna.trial.TrialState.FAIL)
        trial = study.ask()
        values = {key: self._suggest(trial, key) for key in self._request.intervals}
        for key, choices in self._request.values.items():
            values[key] = trial.suggest_categorical(key, choices)
        return self._add(trial.number, values)

    def done(self, job: Job) -> None:
        """Tell the study what came out."""
        import optuna

        study = open_study(self._manifest.folder)
        if study.trials[job.number].state.is_finished():
            return
        summary = read_summary(self._manifest.folder_of(job)) or {}
        best = summary.get("best")
        if summary.get("status") == "interrupted":
            return
        if summary.get("status") == "completed" and best is not None:
            if summary.get("pruned_after"):
                study.tell(job.number, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(job.number, best["val_accuracy"])
        else:
            study.tell(job.number, state=optuna.trial.TrialState.FAIL)

    def _add(self, number: int, values: dict[str, str]) -> Job:
        overrides = [*self._request.fixed, *(f"{key}={value}" for key, value in values.items())]
        job = Job(number, overrides, config_hash=f"trial {number}")
        self._manifest.jobs.append(job)
        return job

    def _suggest(self, trial: Any, key: str) -> str:
        interval = self._request.intervals[key]
        if interval.whole:
            value = trial.suggest_int(key, int(interval.low), int(interval.high), log=interval.log)
        else:
            value = trial.suggest_float(key, interval.low, interval.high, log=interval.log)
        return shown(value, interval)

    def _override(self, key: str, value: Any) -> str:
        interval: Interval | None = self._request.intervals.get(key)
        return str(value) if interval is None else shown(value, interval)
