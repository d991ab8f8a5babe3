"""Searches with Optuna: resumed, retried, several trials at a time."""

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hymenoptera_sweeper._plan import Space, read_space
from hydra_plugins.hymenoptera_sweeper._search import Trials
from hymenoptera.callbacks.pruning import open_study
from hymenoptera.reports.jobs import Job, Manifest
from hymenoptera.reports.record import Summary, write_summary
from sweeps.conftest import Sweeping

pytest.importorskip("optuna")
SEARCH = ("sweep=optuna", "optimizer.lr=interval(1e-5,1e-1)", "trainer.max_epochs=1")
SPACE = read_space(["optimizer.lr=interval(1e-5,1e-1)", "optimizer=adam,sgd"], "optuna")


def test_a_search_counts_the_trials_of_all_calls_and_repeats_none(sweeping: Sweeping) -> None:
    assert sweeping(*SEARCH, "sweep.trials=2").status == 0
    before = sweeping.records()
    ended = sweeping(
        *(*SEARCH, "sweep.trials=5"), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    )
    assert ended.status == 0, ended.err
    assert sweeping.states == ["done"] * 5
    assert all(sweeping.records()[number] == when for number, when in before.items())
    jobs = sweeping.manifest.jobs
    assert len({tuple(job.overrides) for job in jobs}) == 5
    values = [trial.value for trial in open_study(sweeping.folder).trials]
    results = json.loads((sweeping.folder / "sweep.json").read_text())["jobs"]
    assert values == [pytest.approx(result["accuracy"]) for result in results]
    assert len(sweeping.pids()) == 3


def test_a_failed_trial_is_run_again_with_its_values(sweeping: Sweeping) -> None:
    command = (*SEARCH, "sweep.trials=2")
    space = read_space(list(command), "optuna")
    [first, _] = trials(sweeping.cwd, [], 2, space).next_jobs(2)
    rate = first.overrides[-1].partition("=")[2]
    ended = sweeping(*command, REFUSE=rate)
    assert ended.status == 1, ended.err
    assert sweeping.states == ["failed", "done"]
    assert "try again with" in ended.out
    before = [job.overrides for job in sweeping.manifest.jobs]
    ended = sweeping(*command)
    assert ended.status == 0, ended.err
    assert sweeping.states == ["done", "done"]
    assert [job.overrides for job in sweeping.manifest.jobs] == before
    states = [trial.state.name for trial in open_study(sweeping.folder).trials]
    assert states == ["COMPLETE", "COMPLETE"]


class Numbers:
    """Gives each job the folder of its number."""

    def folder(self, overrides: list[str], number: int) -> str:
        return str(number)


def trials(folder: Path, jobs: list[Job], count: int = 4, space: Space = SPACE) -> Trials:
    manifest = Manifest(folder, space.keys, "optuna", "command", jobs)
    composer: Any = Numbers()
    return Trials(space, manifest, composer, count, seed=0, pruning=False)


def finish(folder: Path, job: Job, accuracy: float, pruned_after: int | None = None) -> None:
    (folder / str(job.number)).mkdir()
    summary = Summary("completed", best={"accuracy": accuracy}, pruned_after=pruned_after)
    write_summary(folder / str(job.number), summary)
    job.state = "done"


def test_jobs_that_run_at_the_same_time_are_different_trials(tmp_path: Path) -> None:
    found = trials(tmp_path, [])
    jobs = found.next_jobs(5)
    assert found.next_jobs(1) == []
    assert [job.number for job in jobs] == [0, 1, 2, 3]
    assert len({tuple(job.overrides) for job in jobs}) == 4


def test_a_job_that_was_done_when_the_process_was_killed_counts(tmp_path: Path) -> None:
    first, second = trials(tmp_path, []).next_jobs(2)
    finish(tmp_path, first, 0.9)  # the study was not told; the second was running
    again = trials(tmp_path, [first, second])
    assert open_study(tmp_path).best_value == 0.9
    assert again.next_jobs(1) == [second]
    finish(tmp_path, second, 0.8, pruned_after=3)
    again.end(second)
    assert [t.state.name for t in open_study(tmp_path).trials] == ["COMPLETE", "PRUNED"]
    [third] = again.next_jobs(1)
    assert third.number == 2
