"""The command line in this process: the real train.py, or a program that trains nothing."""

import functools
import logging
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from command_line import ROOT
from conftest import Ended

# libyaml reads conf/ in a seventh of the time, and a hundred of these tests do
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

PROGRAM = """
import json, os
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from hymenoptera.config.command import run_command
from hymenoptera.config.launched import task_overrides
from hymenoptera.config.resume import remember
from hymenoptera.config.validation import prepare
from hymenoptera.errors import ConfigError, RunError

@hydra.main(version_base="1.3", config_path={conf!r}, config_name="train")
def main(cfg):
    folder = Path(HydraConfig.get().runtime.output_dir)
    overrides = task_overrides()
    config = OmegaConf.to_container(prepare(cfg))
    job = dict(config=config, folder=str(folder), cwd=os.getcwd(), overrides=overrides)
    Path({seen!r}).write_text(json.dumps(job))
    does = os.environ["DOES"]
    if does == "trains":
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        remember(folder, overrides)
    elif does != "nothing":
        raise {{"invalid": ConfigError("No classes."), "fails": RunError("It failed."),
               "bug": IndexError("a bug"), "disk": OSError(28, "No space left", "x.png"),
               "stop": KeyboardInterrupt()}}[does]

if __name__ == "__main__":
    run_command(main)
"""


@pytest.fixture(autouse=True)
def _process_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command does to its process."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("HYMENOPTERA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    handler = signal.getsignal(signal.SIGTERM)
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    signal.signal(signal.SIGTERM, handler)
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run `python SCRIPT ARGUMENTS` in tmp_path, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(script: Path, *arguments: str, does: str = "trains") -> Ended:
        monkeypatch.setenv("DOES", does)
        sys.argv[:] = [str(script), *arguments]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def train(run_here: Callable[..., Ended]) -> Callable[..., Ended]:
    """Run `python train.py ARGUMENTS`."""
    return functools.partial(run_here, ROOT / "train.py")


@pytest.fixture
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which the program below says what it was given."""
    return tmp_path_factory.mktemp("seen") / "job.json"


@pytest.fixture
def program(run_here: Callable[..., Ended], seen: Path) -> Callable[..., Ended]:
    """As `train`, with a program in place of training that `does` something else."""
    script = seen.with_name("program.py")
    script.write_text(PROGRAM.format(conf=str(ROOT / "conf"), seen=str(seen)))
    return functools.partial(run_here, script)


@functools.cache
def _composed(groups: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=list(groups), return_hydra_config=True)
    OmegaConf.set_struct(cfg, False)
    return cfg


@pytest.fixture
def composed() -> Callable[..., Any]:
    """The config of some overrides with Hydra's own node; values are set without Hydra, quickly."""

    def compose_with(*overrides: str) -> Any:
        groups = tuple(o for o in overrides if (ROOT / "conf" / o.split("=")[0]).is_dir())
        values = [override for override in overrides if override not in groups]
        return OmegaConf.merge(_composed(groups), OmegaConf.from_dotlist(values))

    return compose_with
