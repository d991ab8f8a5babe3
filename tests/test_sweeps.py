"""Sweeps through the real command line: resumed, killed, in parallel, searched, refused."""

import json
import os
import shlex
import shutil
import signal
import textwrap
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import Ended, tiny_overrides
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


def wait_for(process: Process, happened: Callable[[], object], timeout_s: float = 200) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sweep_groups_seeds_and_goes_on_with_added_values(
    tmp_path: Path, run_train: Run, hymenoptera: Run, tiny: list[str]
) -> None:
    tiny = [*tiny, "+trainer.accumulate_grad_batches=1"]
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
    for job in sweep["jobs"]:  # TensorBoard's HPARAMS says what the table says
        if job["state"] == "done":
            events = EventAccumulator(str(tmp_path / "runs" / "s" / str(job["number"])))
            shown = events.Reload().Scalars("best/val_accuracy")[-1].value
            assert shown == pytest.approx(job["val_accuracy"])
    assert "+trainer.accumulate_grad_batches=1" in sweep["best"]["rerun"].split()
    assert sweep["best"]["train_longer"].endswith("trainer.max_epochs=4")
    again = run_train(*shlex.split(sweep["best"]["rerun"])[2:])
    assert again.status == 0, again.err
    [best] = (p for p in (tmp_path / "runs").glob("*/metrics.csv"))
    first = tmp_path / "runs" / "s" / str(sweep["best"]["job"]) / "metrics.csv"
    assert best.read_text() == first.read_text()
    refused = run_train(*SWEEP, *tiny, "optimizer.lr=1e-4", "optimizer.weight_decay=0.1")
    assert refused.status == 2
    assert "optimizer.weight_decay is 0.0 there and 0.1 here" in refused.err


@pytest.mark.parametrize("engine", ["grid", pytest.param("joblib", marks=pytest.mark.torture)])
def test_kill_9_loses_no_job_that_was_done(
    tmp_path: Path,
    run_train: Run,
    start_train: Callable[..., Process],
    tiny: list[str],
    engine: str,
) -> None:
    command = [*SWEEP, *tiny, f"sweep={engine}", "optimizer.lr=1e-4,1e-3", "seed=1,2"]
    process = start_train(*command)
    wait_for(process, lambda: records(tmp_path))
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


@pytest.mark.parametrize("engine", ["grid", pytest.param("joblib", marks=pytest.mark.torture)])
def test_ctrl_c_stops_at_the_batch_and_names_the_command(
    tmp_path: Path, start_train: Callable[..., Process], tiny: list[str], engine: str
) -> None:
    command = (*SWEEP, *tiny, "trainer.max_epochs=300", "optimizer.lr=1e-4,1e-3,1e-2")
    process = start_train(*command, f"sweep={engine}", *["sweep.processes=2"] * (engine != "grid"))
    jobs = ["0", "1"] if engine == "joblib" else ["0"]
    last = [tmp_path / "runs" / "s" / job / "checkpoints" / "last.ckpt" for job in jobs]
    wait_for(process, lambda: all(path.exists() for path in last))
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=180)
    assert process.exitcode == 130
    assert states(tmp_path) == ["interrupted"] * len(jobs) + ["to do"] * (3 - len(jobs))
    out = (tmp_path / "out.txt").read_text()
    assert "Interrupted. Go on with: python" in out
    assert (tmp_path / "runs" / "s" / "sweep.html").exists()


@pytest.mark.torture
def test_ctrl_c_twice_leaves_at_once_and_the_sweep_goes_on_from_the_checkpoint(
    tmp_path: Path, run_train: Run, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    command = (*SWEEP, *tiny, "trainer.max_epochs=30", "seed=1")
    process = start_train(*command)
    run = tmp_path / "runs" / "s" / "0"
    wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    os.kill(process.pid, signal.SIGSTOP)  # so that both signals are there when it looks
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    process.join(timeout=180)
    assert process.exitcode == 130
    assert not (run / "summary.json").exists()
    began = (run / "metrics.csv").read_text().splitlines()
    assert 2 <= len(began) < 31
    ended = run_train(*command)
    assert ended.status == 0, ended.err
    assert "going on after epoch" in ended.out
    rows = (run / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(epoch) for epoch in range(1, 31)]


@pytest.mark.torture
def test_a_job_of_a_cluster_outlives_the_sweep_and_is_not_sent_again(
    tmp_path: Path, run_train: Run, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    """With submitit's local executor."""
    pytest.importorskip("submitit")
    command = [*SWEEP, *tiny, "sweep=slurm", "sweep.cluster.executor=local", "sweep.processes=1"]
    command.append("seed=1")
    process = start_train(*command)
    wait_for(process, (tmp_path / "runs" / "s" / "submitit" / "jobs.json").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not records(tmp_path)
    ended = run_train(*command)
    assert ended.status == 0, ended.err
    assert states(tmp_path) == ["done"]
    assert len(list((tmp_path / "runs" / "s" / "submitit").glob("*_log.out"))) == 1


SLURM = {  # just enough of it: tasks of an array at the same time, on this machine
    "sbatch": """
        last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
        for task in $(seq 0 "$last"); do
            SLURM_JOB_ID=$((8 + task)) SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task \\
                SLURM_NTASKS=1 SLURM_PROCID=0 bash "$1" > /dev/null 2>&1 &
        done
        cp "$1" sent.sh
        echo "Submitted batch job 7"
    """,
    "srun": 'exec "${@:6}" > "srun_$SLURM_ARRAY_TASK_ID.txt" 2>&1',
    "sacct": 'echo "JobID|State|NodeList"; echo "7_[0-1]|RUNNING|here"',
}


def test_slurm_gets_the_jobs_as_one_array(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "bin").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{textwrap.dedent(script)}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    ended = run_train(
        *(*SWEEP, *tiny, "sweep=slurm", "sweep.cluster.slurm_partition=gpu"),
        *("sweep.cluster.gpus_per_node=1", "+sweep.cluster.slurm_account=ants"),
        "optimizer.lr=1e-4,1e30",
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    )
    assert ended.status == 1
    assert states(tmp_path) == ["done", "failed"]
    assert "loss is nan" in ended.out
    sent = (tmp_path / "sent.sh").read_text()
    for option in ("array=0-1%2", "partition=gpu", "account=ants", "gpus-per-node=1", "time=60"):
        assert f"#SBATCH --{option}" in sent


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
    tmp_path: Path, run_train: Run, pictures: Path
) -> None:
    """Its pictures are noise in the second sweep: nothing but their own judgement differs."""
    root = Path(shutil.copytree(pictures, tmp_path / "trees"))
    command = ["-m", *tiny_overrides(root), "data.test_fraction=0.25", "optimizer.lr=1e-5,1e-3"]
    runs = tmp_path / "runs"
    assert run_train(*command, "sweep.name=first").status == 0
    apart = (runs / "first" / "0" / "test_set.tsv").read_text()
    names = [line.split("\t")[0] for line in apart.splitlines() if ".png" in line]
    assert len(names) == 6
    generator = np.random.default_rng(1)
    for name in names:
        noise = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / name)
    assert run_train(*command, "sweep.name=second").status == 0
    for file in ("metrics.csv", "predictions.csv"):
        for job in "01":
            texts = {(runs / sweep / job / file).read_text() for sweep in ("first", "second")}
            assert len(texts) == 1
    assert not any(name in (runs / "first" / "0" / "predictions.csv").read_text() for name in names)
    sweeps = [json.loads((runs / s / "sweep.json").read_text()) for s in ("first", "second")]
    assert sweeps[0]["best"]["job"] == sweeps[1]["best"]["job"]
    for name, sweep in zip(("first", "second"), sweeps, strict=True):
        judged = [path.parent.name for path in (runs / name).glob("*/test.json")]
        assert judged == [str(sweep["best"]["job"])]
        assert sweep["best"]["test"]["count"] == 6
    tests = [sweep["best"]["test"]["test_manifest_hash"] for sweep in sweeps]
    assert tests[0] != tests[1]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (["optimizer.lr=range(0)"], "no values"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "sweep=optuna"),
        (["sweep=optuna", "seed=1,2", "optimizer.lr=1e-3,1e-4"], "seed is a repeat"),
        (["sweep.name=a/b", "seed=1,2"], "folder's name"),
        (["seed=1,2", "data.test_fraction=0,0.01"], "takes 0 of the 8"),
        (["seed=1,2", "trainer=ddp"], "run the whole sweep"),
        (["data.folds=5", "data.fold=0,7"], "makes the folds 0 to 4"),
        (["optimizer.lrr=1e-3,1e-4"], "no such key. Did you mean optimizer.lr"),
        (["optimizer.lr=1e-3,-1"], "optimizer.lr=-1"),
        (["seed=1,2", "sweep.processes=0"], "sweep.processes=0"),
        (["seed=1,2", "sweep=slurm"], "no srun here"),
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
