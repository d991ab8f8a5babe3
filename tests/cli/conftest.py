"""Fixtures of the `hymenoptera` command's tests: one finished run for all of them."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Ended, run, tiny_overrides, write_images
from hymenoptera.cli import main
from hymenoptera.models import Predictor

Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/, val/ and test/ of three classes."""
    counts = {"train": 8, "val": 4, "test": 2}
    parts = {p: dict.fromkeys(("ash", "birch", "cedar"), n) for p, n in counts.items()}
    return write_images(tmp_path_factory.mktemp("images") / "trees", parts)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The folder of a run whose last.ckpt was written in the middle of an epoch."""
    folder = tmp_path_factory.mktemp("finished")
    options = ("+trainer.max_steps=5", "callbacks.last_checkpoint.within_epoch_s=0")
    ended = run(
        "train.py",
        (*tiny_overrides(images), "model.backbone=resnet18", *options, "hydra.run.dir=run"),
        folder,
        {},
    )
    assert ended.status == 0, ended.err
    return folder / "run"


@pytest.fixture(scope="session")
def best(finished_run: Path) -> Path:
    """The run's best checkpoint."""
    return finished_run / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def predictor(best: Path) -> Predictor:
    """With that checkpoint."""
    return Predictor(best, "cpu")


@pytest.fixture
def moved(best: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """Write the best checkpoint anew, as of a run whose images lie in another folder."""

    def write(root: Path) -> Path:
        content = torch.load(best, weights_only=True)
        content["hymenoptera"]["data"]["root"] = str(root)
        torch.save(content, tmp_path / "moved.ckpt")
        return tmp_path / "moved.ckpt"

    return write


@pytest.fixture
def hymenoptera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run `hymenoptera ARGUMENTS` in tmp_path, in this process; `in.txt` there is its stdin."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Ended:
        given = Path("in.txt")
        monkeypatch.setattr(sys, "stdin", io.StringIO(given.read_text() if given.exists() else ""))
        monkeypatch.setattr(sys, "argv", ["hymenoptera", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Ended(end.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return command
