"""What a search does with trials whose process was killed at an awkward moment."""

import json
from pathlib import Path

import pytest

from hymenoptera.results.jobs import Job, Manifest
from hymenoptera.study import open_study
from hymenoptera.sweeps.request import read_request
from hymenoptera.sweeps.search import Search

pytest.importorskip("optuna")
REQUEST = read_request(["optimizer.lr=interval(1e-5,1e-1)", "optimizer=adam,sgd"], "optuna")


def search(folder: Path, jobs: list[Job], trials: int = 4) -> Search:
    manifest = Manifest(folder, REQUEST.swept, "optuna", "command", {}, jobs)
    return Search(REQUEST, manifest, trials, seed=0, pruning=False)


def finish(folder: Path, job: Job, accuracy: float) -> None:
    (folder / str(job.number)).mkdir()
    record = {"status": "completed", "best": {"val_accuracy": accuracy}}
    (folder / str(job.number) / "summary.json").write_text(json.dumps(record))
    job.state = "done"


def test_jobs_that_run_at_the_same_time_are_different_trials(tmp_path: Path) -> None:
    found = search(tmp_path, [])
    jobs = [found.next_job() for _ in range(4)]
    assert found.next_job() is None
    assert [job.number for job in jobs if job] == [0, 1, 2, 3]
    assert len({tuple(job.overrides) for job in jobs if job}) == 4


def test_a_trial_that_the_manifest_never_knew_is_run_with_its_values(tmp_path: Path) -> None:
    asked = search(tmp_path, []).next_job()  # and the process is gone
    assert search(tmp_path, []).next_job() == asked


def test_a_trial_without_values_is_given_up(tmp_path: Path) -> None:
    open_study(tmp_path).ask()  # nothing was suggested when the process was gone
    job = search(tmp_path, []).next_job()
    assert job is not None
    assert job.number == 1
    assert [t.state.name for t in open_study(tmp_path).trials] == ["FAIL", "RUNNING"]


def test_a_job_that_was_done_when_the_process_was_killed_counts(tmp_path: Path) -> None:
    found = search(tmp_path, [])
    first, second = found.next_job(), found.next_job()
    assert first is not None
    assert second is not None
    finish(tmp_path, first, 0.9)  # the study was not told; the second was running
    again = search(tmp_path, [first, second])
    assert open_study(tmp_path).best_value == 0.9
    assert again.next_job() is second
    finish(tmp_path, second, 0.8)
    again.done(second)
    assert [t.value for t in open_study(tmp_path).trials] == [0.9, 0.8]
    third = again.next_job()
    assert third is not None
    assert third.number == 2
