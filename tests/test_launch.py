"""Answers that need no training: help, the config, and how quickly nothing is imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT, Ended

Run = Callable[..., Ended]


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
