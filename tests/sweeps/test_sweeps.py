"""Named sweeps through the real command line: resumed, killed, interrupted, refused."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended, tiny_overrides
from hydra_plugins.hymenoptera_sweeper._plan import read_space
from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import read_summary
from sweeps.conftest import Sweeping

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SUBMITIT = ("hydra/launcher=submitit_local",)


def test_done_jobs_are_skipped_failed_ones_run_again_and_added_values_add_jobs(
    sweeping: Sweeping,
) -> None:
    ended = sweeping("optimizer.lr=1e-4,1e30", "seed=1")
    assert ended.status == 1, ended.err
    assert sweeping.states == ["done", "failed"]
    assert "1 of 2 jobs failed" in ended.out
    assert "++" not in ended.out  # but what was typed
    assert "failed: train/loss is nan" in ended.out
    before = sweeping.records()
    ended = sweeping("optimizer.lr=1e-3,1e-4,1e30", "seed=2,1")  # other keys follow the seed
    assert ended.status == 1
    first, line = [line for line in ended.out.splitlines() if line][:2]
    assert first == "sweep      runs/s: 6 jobs, 1 done before"
    assert line.split()[:6] == ["2", "of", "6", "job", "1", "-"]
    assert line.endswith("failed: train/loss is nan")
    assert "epoch line" not in ended.out
    assert "epoch line" in (sweeping.folder / "0" / "train.log").read_text()
    after = sweeping.records()
    assert after["0"] == before["0"]
    assert after["1"] > before["1"]
    assert [sorted(job.overrides)[2:] for job in sweeping.manifest.jobs] == [
        [f"optimizer.lr={rate}", f"seed={seed}"]
        for rate, seed in (
            *(("0.0001", 1), ("1e+30", 1), ("0.001", 2)),
            *(("0.001", 1), ("0.0001", 2), ("1e+30", 2)),
        )
    ]
    content = json.loads((sweeping.folder / "sweep.json").read_text())
    assert [sorted(one["jobs"]) for one in content["configurations"]] == [[0, 4], [1, 5], [2, 3]]
    assert (sweeping.folder / "sweep.html").exists()
    other = sweeping("optimizer.lr=1e-4", "seed=1", "optimizer.weight_decay=0.1")
    assert other.status == 1, other.err
    assert "best so far" in ended.out and "best so far" not in other.out  # the call before has it
    content = json.loads((sweeping.folder / "sweep.json").read_text())
    assert "optimizer.weight_decay" in content["swept"]  # it is a row of its own


def test_joblib_runs_several_jobs_at_a_time(sweeping: Sweeping) -> None:
    options = ("sweep=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=5")
    ended = sweeping(*options, "optimizer.lr=1e-4,1e-3,1e30")
    assert ended.status == 1, ended.err
    assert "3 jobs, by joblib, 2 at a time" in ended.out
    assert all("sweep" not in text for text in sweeping.manifest.jobs[0].overrides)
    assert sweeping.states == ["done", "done", "failed"]
    assert len(sweeping.pids()) == 2
    assert [int(line[:4]) for line in ended.out.splitlines() if " of 3  job" in line] == [1, 2, 3]
    assert "epoch line" not in ended.out
    assert "Traceback" not in ended.err and "leaked" not in ended.err


def test_kill_9_loses_no_job_that_was_done_and_resumes_the_other(sweeping: Sweeping) -> None:
    command = ("optimizer.lr=1e-4,1e-3,1e-2", "trainer.max_epochs=30")
    sweeping.stopped(command, lambda: len(sweeping.epochs("1")) > 2)
    before = sweeping.records()
    assert list(before) == ["0"]
    assert sweeping(*command).status == 0
    assert sweeping.states == ["done"] * 3
    assert sweeping.records()["0"] == before["0"]
    assert sweeping.epochs("1") == list(range(30))


@pytest.mark.parametrize(
    ("launcher", "number"),
    [
        ((), signal.SIGINT),
        pytest.param(JOBLIB, signal.SIGINT, marks=pytest.mark.torture),
        (SUBMITIT, signal.SIGTERM),
    ],
)
def test_a_signal_stops_the_jobs_and_the_same_command_resumes_them(
    sweeping: Sweeping, launcher: tuple[str, ...], number: signal.Signals
) -> None:
    rates = "optimizer.lr=1e-4,1e-3" + ("" if launcher == SUBMITIT else ",1e-2")
    command = (*launcher, rates, "trainer.max_epochs=40")
    running = ["0", "1"] if launcher else ["0"]
    status = sweeping.stopped(command, lambda: all(map(sweeping.epochs, running)), number)
    assert status == 130
    states = ["interrupted"] * len(running)
    assert sweeping.states == (states + ["to do"] * 2)[: 2 if launcher == SUBMITIT else 3]
    out = (sweeping.cwd / "out.txt").read_text()
    assert "Interrupted. Resume with: python" in out
    assert "resumed the next time" in out
    assert (sweeping.folder / "sweep.html").exists()
    ended = sweeping(*command)
    assert ended.status == 0, ended.err
    assert all(sweeping.epochs(job) == list(range(40)) for job in running)


@pytest.mark.torture
def test_a_killed_worker_is_a_failed_job_and_those_that_wait_still_run(sweeping: Sweeping) -> None:
    command = (*JOBLIB, "optimizer.lr=1e-3,1e-4,1e-2,1e-1", "trainer.max_epochs=10")
    ended = sweeping(*command, KILL="1e-3")
    assert ended.status == 1, ended.err
    assert sweeping.states[0] == "failed"  # and perhaps the one that ran beside it
    assert sweeping.states[2:] == ["done", "done"]
    assert sweeping.manifest.jobs[0].reason == "killed: it ended without a record"
    assert sweeping(*command, REFUSE="1e-3").status == 1  # it keeps its checkpoint
    assert sweeping(*command).status == 0
    assert sweeping.epochs("0") == sweeping.epochs("1") == list(range(10))


@pytest.mark.parametrize("launcher", [SUBMITIT, pytest.param(JOBLIB, marks=pytest.mark.torture)])
def test_jobs_that_outlive_the_sweep_are_not_run_twice(
    sweeping: Sweeping, launcher: tuple[str, ...]
) -> None:
    command = (*launcher, "optimizer.lr=1e-4,1e-3", "trainer.max_epochs=60")
    sweeping.stopped(command, lambda: sweeping.epochs("0") and sweeping.epochs("1"))
    ended = sweeping(*command)  # at once: it waits for those that still run, joblib's are stopping
    assert ended.status == 0, ended.err
    assert sweeping.states == ["done", "done"]
    assert sweeping.epochs("0") == sweeping.epochs("1") == list(range(60))


def test_hydras_own_folders_are_honoured(sweeping: Sweeping) -> None:
    ended = sweeping(
        "hydra.sweep.dir=runs/s/${now:%Y}",
        "hydra.sweep.subdir='${hydra.job.num}_${hydra.job.override_dirname}'",
        "hydra.job.config.override_dirname.exclude_keys=[data,trainer.max_epochs,sweep.name]",
        "hydra.job.chdir=true",
        "optimizer.lr=1e-4,1e30",
    )
    assert ended.status == 1, ended.err
    [folder] = [path for path in sweeping.folder.iterdir() if path.is_dir()]
    assert (folder / "0_optimizer.lr=0.0001" / "summary.json").exists()
    again = sweeping.raw(*printed_command(ended))
    assert again.status == 1, again.err
    assert "1 done before" in again.out
    clash = sweeping("hydra.sweep.dir=runs/t", "hydra.sweep.subdir=x", "seed=1,2")
    assert clash.status == 2
    assert "hydra.sweep.subdir=x is no folder of one job" in clash.err
    assert not (sweeping.cwd / "runs" / "t").exists()


def printed_command(ended: Ended) -> list[str]:
    [line] = [line for line in ended.out.splitlines() if "try again with: " in line]
    return shlex.split(line.partition("with: ")[2])[2:]


def test_a_folder_with_something_else_in_it_is_left_alone(sweeping: Sweeping) -> None:
    assert sweeping("seed=1,2").status == 0
    (sweeping.folder / "2").mkdir()
    ended = sweeping("seed=1,2,3")
    assert ended.status == 2
    assert "is there already, and job 2 would go there" in ended.err
    (sweeping.folder / "manifest.json").unlink()
    ended = sweeping("seed=1,2")
    assert ended.status == 2
    assert "holds something else" in ended.err
    assert (sweeping.folder / "0" / "summary.json").exists()


def test_values_may_be_swept_by_a_config_and_the_printed_command_has_its_folder(
    sweeping: Sweeping,
) -> None:
    extra = sweeping.cwd / "my conf" / "experiment"
    extra.mkdir(parents=True)
    (extra / "mine.yaml").write_text(
        "# @package _global_\n"
        "hydra: {sweeper: {params: {optimizer.lr: '1e-3,1e30', seed: '1,2'}}}\n"
    )
    overrides = ("data=drawn", "trainer.max_epochs=1", "experiment=mine", "seed=3")
    ended = sweeping.raw("--config-dir", "my conf", "-m", *overrides)
    assert ended.status == 1, ended.err
    assert "2 jobs" in ended.out
    again = sweeping.raw(*printed_command(ended))
    assert again.status == 1, again.err
    assert "2 jobs, 1 done before" in again.out


def test_hydras_own_sweeper_works_too(sweeping: Sweeping) -> None:
    ended = sweeping("hydra/sweeper=basic", "optimizer.lr=1e-4,1e-3")
    assert ended.status == 0, ended.err
    assert sorted(sweeping.records()) == ["0", "1"]


@pytest.mark.parametrize(
    ("overrides", "search", "words"),
    [
        (["optimizer.lr=range(0)"], "grid", "no values"),
        (["optimizer.lr=interval(1e-4,1e-2)"], "grid", "sweep=optuna"),
        (["optimizer.lr=interval(1e-2,1e-4)"], "optuna", "to a larger one"),
        (["seed=1,2", "optimizer.lr=1e-3,1e-4"], "optuna", "a search has one value"),
        (["seed=1"], "optuna", "needs something to search"),
        (["sweep.name=a,b", "seed=1,2"], "grid", "a sweep has one value of it"),
    ],
)
def test_what_cannot_be_swept_is_refused(overrides: list[str], search: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_space(overrides, search)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["seed=1,2", "trainer.devices=2"], "run the whole sweep"),
        (["optimizer.lr=1e-3,-1"], "optimizer.lr=-1"),
        (["seed=1,2", "resume=runs/x"], "resume"),
    ],
)
def test_an_invalid_sweep_is_refused_before_any_folder(
    sweeping: Sweeping, overrides: list[str], words: str
) -> None:
    ended = sweeping.raw("-m", "data=drawn", *overrides)
    assert ended.status == 2, ended.err
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert not (sweeping.cwd / "runs").exists()


def test_a_missing_extra_is_named(sweeping: Sweeping) -> None:
    ended = sweeping("sweep=joblib", "seed=1,2", HIDE="hydra_joblib_launcher")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "pip install -e '.[joblib]'" in ended.err
    assert not (sweeping.cwd / "runs").exists()


def test_two_processes_do_not_run_the_same_sweep(sweeping: Sweeping) -> None:
    process = sweeping.start("optimizer.lr=1e-3", "trainer.max_epochs=1000")
    sweeping.wait_for(lambda: sweeping.epochs("0"))
    other = sweeping.cwd / "other"
    other.mkdir()
    ended = Sweeping(other)("optimizer.lr=1e-3", f"hydra.sweep.dir={sweeping.folder}")
    process.kill()
    assert ended.status == 2
    assert "this sweep is running already" in ended.err


SLURM = {  # enough of it for submitit: the tasks of an array at the same time, on this machine
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


def test_slurm_gets_the_jobs_as_one_array(sweeping: Sweeping, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    options = ("partition=gpu", "gpus_per_node=1", "account=ants")
    ended = sweeping(
        *("sweep=slurm", "optimizer.lr=1e-4,1e30"),
        *(f"hydra.launcher.{option}" for option in options),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    )
    assert ended.status == 1, ended.err
    assert sweeping.states == ["done", "failed"]
    sent = (tmp_path / "sent.sh").read_text()
    for option in ("array=0-1%2", "partition=gpu", "account=ants", "gpus-per-node=1", "time=60"):
        assert f"#SBATCH --{option}" in sent


def test_the_test_set_is_evaluated_once_by_the_winner_and_never_decides(
    tmp_path: Path, run_train: Callable[..., Ended], images: Path
) -> None:
    """Its images are noise in the second sweep: nothing but their own evaluation differs."""
    root = Path(shutil.copytree(images, tmp_path / "trees"))
    command = ["-m", *tiny_overrides(root), "data.test_fraction=0.25", "optimizer.lr=1e-5,1e-3"]
    runs = tmp_path / "runs"
    first = run_train(*command, "sweep.name=first")
    assert first.status == 0, first.err
    text = (runs / "first" / "0" / "test_set.tsv").read_text()
    names = [line.split("\t")[0] for line in text.splitlines() if ".png" in line]
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
    for sweep in ("first", "second"):
        best = json.loads((runs / sweep / "sweep.json").read_text())["best"]
        tested = [path.parent.name for path in (runs / sweep).glob("*/test_predictions.csv")]
        assert tested == [str(best["job"])]
        assert best["test"]["count"] == 6
        for job in "01":
            summary = read_summary(runs / sweep / job)
            assert summary is not None
            assert bool(summary.test) == (job == str(best["job"]))
