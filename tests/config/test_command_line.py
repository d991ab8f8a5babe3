"""Help, the composed config, Hydra's own habits, and what is imported for them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import ROOT
from conftest import Ended

Run = Callable[..., Ended]


def test_help_names_every_group_with_its_options_and_six_examples(train: Run) -> None:
    ended = train("--help")
    assert ended.status == 0
    for group in (p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"):
        line = next(li for li in ended.out.splitlines() if li.startswith(f"{group.name}: "))
        assert line.split(": ")[1].split(", ") == sorted(p.stem for p in group.glob("*.yaml"))
    assert ended.out.split("Examples")[1].count("python train.py") >= 6
    assert max(map(len, ended.out.splitlines())) <= 100
    assert train("--help", "seed=1").out == ended.out  # which Hydra prints


def test_the_examples_of_the_help_page_compose(train: Run) -> None:
    examples = train("--help").out.split("Examples")[1].splitlines()
    commands = [li.strip().split("   ")[0] for li in examples if li.strip().startswith("python")]
    for command in commands:
        arguments = [a.split(",")[0] for a in command.split()[2:] if a != "-m"]
        if not any(a.startswith("resume=") for a in arguments):
            ended = train("--cfg", "job", *arguments)
            assert ended.status == 0, ended.err


def test_the_article_is_the_default(train: Run) -> None:
    default = train("--cfg", "job").out
    assert "lr: 0.0001" in default
    assert "max_epochs: 20" in default
    assert train("--cfg", "job", "experiment=article").out == default
    assert train("--cfg", "job", "+experiment=article").out == default


def test_sources_from_the_environment_and_home(train: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYMENOPTERA_SOURCE", "/my/ants.zip")
    shown = train("--cfg", "job", "--resolve", "--package", "data", "data.folder=~/images").out
    assert "source: /my/ants.zip" in shown
    assert f"folder: {Path.home()}/images" in shown


def test_hydras_interpolations_work_in_any_value(tmp_path: Path, program: Run, seen: Path) -> None:
    """On the command line, in the run folder's name, and again when the run is resumed."""
    given = "+trainer.default_root_dir=${hydra:runtime.cwd}/there"
    ended = program(given, "model.seed=${seed}", "hydra.run.dir=${hydra:runtime.cwd}/run")
    assert ended.status == 0, ended.err
    for _ in ("run", "resumed"):
        job = json.loads(seen.read_text())
        assert job["folder"] == str(tmp_path / "run")
        assert job["config"]["trainer"]["default_root_dir"] == f"{tmp_path}/there"
        assert job["overrides"][:2] == [given.lstrip("+"), "model.seed=${seed}"]
        ended = program("resume=run")
        assert ended.status == 0, ended.err


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_an_option_of_the_trainer_needs_no_plus_and_may_have_one(train: Run, plus: str) -> None:
    ended = train(f"{plus}trainer.max_steps=7", f"{plus}trainer.max_epochs=3", "--cfg", "job")
    assert "max_steps: 7" in ended.out
    assert "max_epochs: 3" in ended.out


def test_overrides_are_recorded_as_they_are_typed(program: Run, seen: Path) -> None:
    """And work again as they are recorded, in a resumed run too."""
    typed = ["trainer.max_epochs=3", "trainer.max_steps=7", "+callbacks.mine={}", "optimizer.lr=1"]
    assert program(*typed, "hydra.run.dir=run").status == 0
    for again in (["hydra.run.dir=other"], ["resume=run"]):
        recorded = json.loads(seen.read_text())["overrides"]
        assert recorded[:4] == typed
        assert program(*(recorded if "resume" not in again[0] else []), *again).status == 0
    assert json.loads(seen.read_text())["overrides"][:4] == typed


def test_no_heavy_import_before_a_valid_config_exists(tmp_path: Path) -> None:
    program = f"""
import runpy, sys
for line in (["--help"], ["--cfg", "job"], ["optimizer.lrr=1"], ["optimizer.lr=0"]):
    try:
        sys.argv[1:] = line
        runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
    except SystemExit:
        pass
    heavy = {{"torch", "torchvision", "pytorch_lightning", "tensorboard", "numpy", "PIL", "scipy"}}
    assert not heavy & set(sys.modules), line
"""
    command = [sys.executable, "-c", program]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ended.returncode == 0, ended.stderr
