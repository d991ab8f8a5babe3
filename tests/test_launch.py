"""Answers that need no training: help, the config, and how quickly nothing is imported.

And what becomes of a job, whose training is pretended.
"""

import json
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf
from torch._utils import ExceptionWrapper

from conftest import ROOT, Ended
from hymenoptera import launch, training
from hymenoptera.errors import RunError

Run = Callable[..., Ended]
Job = Callable[..., Path]


@pytest.fixture
def run_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Run a job, of a sweep or alone, with something in place of training; to its folder."""

    def run(train: Callable[..., int], mode: RunMode) -> Path:
        place = SimpleNamespace(output_dir=str(tmp_path))
        hydra = SimpleNamespace(mode=mode, runtime=place, overrides=SimpleNamespace(task=[]))
        checked = {"sweep": {}, "trainer": {"devices": 1, "num_nodes": 1}}
        monkeypatch.setattr(launch.HydraConfig, "get", lambda: hydra)
        monkeypatch.setattr(launch, "check", lambda cfg: checked)
        monkeypatch.setattr(training, "train", train)
        launch.run(OmegaConf.create({"find_lr": None}))
        return tmp_path

    return run


def test_help_names_every_group_with_its_options_and_six_examples(
    tmp_path: Path, run_train: Run
) -> None:
    ended = run_train("--help")
    assert ended.status == 0
    for group in (p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"):
        line = next(li for li in ended.out.splitlines() if li.startswith(f"{group.name}: "))
        assert line.split(": ")[1].split(", ") == sorted(p.stem for p in group.glob("*.yaml"))
    examples = ended.out.split("Examples")[1]
    assert examples.count("python train.py") >= 6
    assert max(map(len, ended.out.splitlines())) <= 100
    assert run_train("--help", "seed=1").out == ended.out  # which Hydra itself prints


def test_the_examples_of_the_help_page_compose(tmp_path: Path, run_train: Run) -> None:
    examples = run_train("--help").out.split("Examples")[1].splitlines()
    commands = [li.strip().split("   ")[0] for li in examples if li.strip().startswith("python")]
    for command in commands[:6]:
        arguments = command.split()[2:]
        if any(a.startswith("resume=") for a in arguments):
            continue
        arguments = [a for a in arguments if a != "-m"]
        arguments = [a.split(",")[0] for a in arguments]
        ended = run_train("--cfg", "job", *arguments)
        assert ended.status == 0, ended.err


def test_the_article_is_the_default(tmp_path: Path, run_train: Run) -> None:
    default = run_train("--cfg", "job").out
    assert "lr: 0.0001" in default
    assert "max_epochs: 20" in default
    assert "https://download.pytorch.org/tutorial/hymenoptera_data.zip" in default
    assert run_train("--cfg", "job", "experiment=article").out == default
    scratch = run_train("--cfg", "job", "experiment=scratch").out
    assert scratch == default.replace(
        "weights: ${oc.env:HYMENOPTERA_WEIGHTS,imagenet}", "weights: none"
    )


def test_the_environment_names_sources(tmp_path: Path, run_train: Run) -> None:
    ended = run_train(
        "--cfg", "job", "--resolve", "--package", "data", HYMENOPTERA_SOURCE="/my/ants.zip"
    )
    assert "source: /my/ants.zip" in ended.out


def test_no_heavy_import_before_a_valid_config_exists(tmp_path: Path) -> None:
    program = f"""
import runpy, sys
try:
    runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
except SystemExit:
    pass
heavy = {{"torch", "torchvision", "pytorch_lightning", "tensorboard", "numpy", "PIL"}}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    for request in (["--help"], ["--cfg", "job"], ["optimizer.lrr=1"], ["optimizer.lr=0"]):
        ended = subprocess.run(
            [sys.executable, "-c", program, *request],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
        )
        assert ended.stderr.splitlines()[-1] == "[]", request


def test_full_errors_are_still_to_be_had(tmp_path: Path, run_train: Run) -> None:
    program = [sys.executable, str(ROOT / "train.py"), "optimizer.lrr=1"]
    ended = subprocess.run(
        program, capture_output=True, text=True, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"}
    )
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ConfigCompositionException" in ended.stderr


def test_a_job_of_a_sweep_leaves_no_memory_to_the_next_one(run_job: Job) -> None:
    class Run:
        itself: Any

    kept: list[weakref.ref[Run]] = []

    def train(*job: Any) -> int:
        run = Run()
        run.itself = run  # as Trainer and data do
        kept.append(weakref.ref(run))
        return 0

    run_job(train, RunMode.MULTIRUN)
    assert kept[0]() is None


def fail_while_reading(*job: Any) -> int:
    """As a DataLoader does whose process could not read a picture."""
    try:
        raise RunError("a.png cannot be read as a picture (truncated).")
    except RunError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    wrapped.reraise()
    return 0


def test_a_picture_that_fails_while_a_run_prepares_is_one_line_and_a_record(
    run_job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_job(fail_while_reading, RunMode.RUN)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "a.png cannot be read as a picture (truncated).\n"
    record = json.loads((tmp_path / "summary.json").read_text())
    assert record["status"] == "failed"
    assert record["error"] == "a.png cannot be read as a picture (truncated)."


def test_and_likewise_in_a_sweep_which_goes_on(
    run_job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    folder = run_job(fail_while_reading, RunMode.MULTIRUN)
    assert caplog.messages == ["a.png cannot be read as a picture (truncated)."]
    assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
