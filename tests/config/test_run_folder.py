"""What becomes of the run folder: nobody else's files are touched, and no run is overwritten."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended
from hymenoptera.config.preflight import RunFolder
from hymenoptera.errors import ConfigError

Run = Callable[..., Ended]


def test_a_folder_with_files_stays_as_it_was(tmp_path: Path, program: Run) -> None:
    """Fault 1."""
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    assert program("hydra.run.dir=mine", does="invalid").status == 2
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.txt"]
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(("does", "status"), [("invalid", 2), ("stop", 130), ("disk", 2)])
def test_a_run_that_did_not_begin_leaves_nothing(
    tmp_path: Path, program: Run, does: str, status: int
) -> None:
    ended = program("hydra.run.dir=a/b/c", does=does)
    assert ended.status == status
    assert len(ended.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_or_has_a_bug_keeps_its_folder(tmp_path: Path, program: Run) -> None:
    ended = program("hydra.run.dir=run", does="fails")
    assert (ended.status, ended.err) == (1, "It failed.\n")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {".hydra", "train.log"}
    with pytest.raises(IndexError):
        program("hydra.run.dir=other", does="bug")


@pytest.mark.parametrize("left", ["summary.json", "checkpoints/best.ckpt", ".hydra/config.yaml"])
def test_a_folder_that_holds_a_run_is_not_used_again(
    tmp_path: Path, program: Run, left: str
) -> None:
    """Fault 2."""
    path = tmp_path / "run" / left
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    ended = program("hydra.run.dir=run")
    assert ended.status == 2
    assert "holds a run" in ended.err
    assert "resume=run" in ended.err
    assert [p for p in (tmp_path / "run").rglob("*") if p.is_file()] == [path]


def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    """Fault 2."""
    folder = RunFolder(tmp_path / "run", resumes=False)
    with pytest.raises(ConfigError, match="another run is writing"):
        RunFolder(tmp_path / "run", resumes=True)
    folder.release()
    RunFolder(tmp_path / "run", resumes=True).release()


def test_with_chdir_paths_start_where_the_command_does(
    tmp_path: Path, program: Run, seen: Path
) -> None:
    """Fault 26."""
    (tmp_path / "images").mkdir()
    arguments = ("data=imagefolder", "data.root=images", "hydra.run.dir=run")
    assert program(*arguments, "hydra.job.chdir=true").status == 0
    job = json.loads(seen.read_text())
    assert job["cwd"] == job["folder"] == str(tmp_path / "run")
    assert job["config"]["data"]["root"] == str(tmp_path / "images")
    assert job["config"]["transfer"]["cache_folder"] == str(tmp_path / "data" / "features")
    assert program(*arguments[:2], "hydra.run.dir=other").status == 0
    assert json.loads(seen.read_text())["config"]["data"]["root"] == "images"
    ended = program("hydra.run.dir=second", "hydra.job.chdir=true", does="invalid")
    assert (ended.status, ended.err) == (2, "No classes.\n")
    assert not (tmp_path / "second").exists()


def test_other_ranks_leave_the_folder_to_rank_zero(
    tmp_path: Path, program: Run, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("hydra.run.dir=run").status == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert program("hydra.run.dir=run", does="nothing").status == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    ended = program("optimizer.lr=0")
    assert (ended.status, ended.err, ended.out) == (2, "", "")


def test_processes_of_one_launcher_share_the_name_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hymenoptera.config.launched import run_name

    first = run_name()
    time.sleep(0.001)
    assert run_name() != first
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "abc")
    assert run_name() == "torchrun_abc"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "/tmp/log_x/none_y/attempt_0/1/error.json")
    assert run_name() == "torchrun_none_y"
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    for name, value in {"JOB_ID": "7", "NTASKS": "4", "STEP_ID": "1", "PROCID": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert run_name() == "slurm_7_1"
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # a shell, in which any number of runs is started
    assert not run_name().startswith("slurm")
