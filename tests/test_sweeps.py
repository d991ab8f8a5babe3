"""Sweeps through the real command line: resumed, killed, in parallel, searched, refused."""

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import pytest

from conftest import Ended
from hymenoptera.results.jobs import read_manifest

Run = Callable[..., Ended]
SWEEP = ("-m", "sweep.name=s", "callbacks.augmented_pictures.enabled=false")


def states(tmp_path: Path) -> list[str]:
    return [job.state for job in read_manifest(tmp_path / "runs" / "s").jobs]


def records(tmp_path: Path) -> dict[str, int]:
    """When each job's record was written."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in (tmp_path / "runs" / "s").glob("*/summary.json")
    }


def test_a_sweep_groups_seeds_and_goes_on_with_added_values(
    tmp_path: Path, run_train: Run, hymenoptera: Run, tiny: list[str]
) -> None:
    ended = run_train(*SWEEP, *tiny, "optimizer.lr=1e-4,1e30", "seed=1")
    assert ended.status == 1
    assert states(tmp_path) == ["done", "failed"]
    assert "1 of 2 jobs failed" in ended.out
    assert "loss is nan" in ended.out
    before = records(tmp_path)
    ended = run_train(*SWEEP, *tiny, "optimizer.lr=1e-4,1e-3", "seed=1,2")
    assert ended.status == 1  # the failed ones are still part of the sweep
    assert "1 done before" in ended.out
    after = records(tmp_path)
    assert all(after[n] == before[n] for n in before)
    assert len(after) == 5
    sweep = json.loads((tmp_path / "runs" / "s" / "sweep.json").read_text())
    assert [s["values"] for s in sweep["settings"]] == [
        {"optimizer.lr": rate} for rate in ("0.0001", "1e+30", "0.001")
    ]
    assert [s["jobs"] for s in sweep["settings"]] == [[0, 2], [1], [3, 4]]
    assert sorted(s["verdict"] for s in sweep["settings"]) == ["", "best", "same as best"]
    assert max(map(len, ended.out.split("against the best")[1].splitlines()[1:6])) <= 80
    page = (tmp_path / "runs" / "s" / "sweep.html").read_text()
    assert "{{" not in page
    assert "src=" not in page
    (tmp_path / "runs" / "s" / "sweep.html").unlink()
    again = hymenoptera("sweep", "runs/s")
    assert again.status == 0, again.err
    assert "same as best" in again.out
    assert (tmp_path / "runs" / "s" / "sweep.html").read_text() == page
    compared = hymenoptera("compare", "runs/s/0", "runs/s/3")
    assert compared.status == 0, compared.err
    assert "12" in compared.out
    assert hymenoptera("compare", "runs/s/0", "runs/s/1").status == 2  # the failed one
    refused = run_train(*SWEEP, *tiny, "optimizer.lr=1e-4", "optimizer.weight_decay=0.1")
    assert refused.status == 2
    assert "optimizer.weight_decay is 0.0 there and 0.1 here" in refused.err


@pytest.mark.parametrize("engine", ["grid", "joblib"])
def test_kill_9_loses_no_job_that_was_done(
    tmp_path: Path,
    run_train: Run,
    start_train: Callable[..., Process],
    tiny: list[str],
    engine: str,
) -> None:
    command = [*SWEEP, *tiny, f"sweep={engine}", "optimizer.lr=1e-4,1e-3", "seed=1,2"]
    process = start_train(*command)
    deadline = time.monotonic() + 200
    while not records(tmp_path):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(1)  # the workers notice
    before = records(tmp_path)
    assert 1 <= len(before) < 4
    ended = run_train(*command)
    assert ended.status == 0, ended.err
    assert states(tmp_path) == ["done"] * 4
    after = records(tmp_path)
    assert all(after[number] == when for number, when in before.items())


def test_ctrl_c_stops_at_the_batch_and_names_the_command(
    tmp_path: Path, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    process = start_train(*SWEEP, *tiny, "trainer.max_epochs=300", "optimizer.lr=1e-4,1e-3")
    last = tmp_path / "runs" / "s" / "0" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 100
    while not last.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=60)
    assert process.exitcode == 130
    assert states(tmp_path) == ["interrupted", "to do"]
    out = (tmp_path / "out.txt").read_text()
    assert "Interrupted. Go on with: python" in out
    assert (tmp_path / "runs" / "s" / "sweep.html").exists()


def test_a_search_goes_on_where_it_stopped_and_repeats_nothing(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    pytest.importorskip("optuna")
    command = [*SWEEP, *tiny, "sweep=optuna", "optimizer.lr=interval(1e-5,1e-1)"]
    assert run_train(*command, "sweep.trials=2").status == 0
    before = records(tmp_path)
    ended = run_train(*command, "sweep.trials=4")
    assert ended.status == 0, ended.err
    assert states(tmp_path) == ["done"] * 4
    assert all(records(tmp_path)[number] == when for number, when in before.items())
    jobs = read_manifest(tmp_path / "runs" / "s").jobs
    assert len({tuple(job.overrides) for job in jobs}) == 4


def test_the_test_set_is_judged_once_by_the_winner_and_never_decides(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    command = [*SWEEP, *tiny, "data.test_fraction=0.25", "optimizer.lr=1e-5,1e-3"]
    assert run_train(*command).status == 0
    sweep = json.loads((tmp_path / "runs" / "s" / "sweep.json").read_text())
    judged = [path.parent.name for path in (tmp_path / "runs" / "s").glob("*/test.json")]
    assert judged == [str(sweep["best"]["job"])]
    assert sweep["best"]["test"]["count"] == 6
    tests = (tmp_path / "runs" / "s" / "0" / "test_set.tsv").read_text()
    for job in "01":
        rows = (tmp_path / "runs" / "s" / job / "predictions.csv").read_text().splitlines()[1:]
        assert not any(row.split(",")[0] in tests for row in rows)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (["optimizer.lr=range(0)"], "no values"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "sweep=optuna"),
        (["sweep=optuna", "seed=1,2", "optimizer.lr=1e-3,1e-4"], "seed is a repeat"),
        (["sweep.name=a/b", "seed=1,2"], "folder's name"),
        (["seed=1,2", "data.test_fraction=0,0.01"], "takes 0 of the 8"),
        (["seed=1,2", "trainer=ddp"], "run the whole sweep"),
    ],
)
def test_a_bad_sweep_is_refused_before_any_job(
    tmp_path: Path, run_train: Run, tiny: list[str], request_: list[str], words: str
) -> None:
    ended = run_train("-m", *tiny, *request_)
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert not (tmp_path / "runs").exists()
