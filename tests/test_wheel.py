"""What pip installs works outside of the checkout: conf/ travels with the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import ROOT

COMMAND = "import sys; from hymenoptera.cli import main; sys.argv[0] = 'hymenoptera'; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("conf", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([*pip, "install", *options, str(source)], check=True)
    return folder / "installed"


def test_an_installed_hymenoptera_trains_anywhere(
    installed: Path, tmp_path: Path, tiny: list[str]
) -> None:
    small = [*tiny, "trainer.max_epochs=1", "report=false", "hydra.run.dir=run"]
    ended = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, "train", *small, "callbacks.grad_cam.enabled=false"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()


def test_it_composes_what_the_checkout_composes(installed: Path, tmp_path: Path) -> None:
    configs = []
    for start, path in (
        (["-P", "-c", COMMAND, "train"], installed),
        ([str(ROOT / "train.py")], ROOT / "src"),
    ):
        command = [sys.executable, *start, "experiment=recipe", "--cfg", "job"]
        environment = {**os.environ, "PYTHONPATH": str(path)}
        ended = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        configs.append(ended.stdout)
    assert configs[0] == configs[1]
    assert "Adam" in configs[0]
