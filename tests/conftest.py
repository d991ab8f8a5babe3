"""Fixtures that every folder of tests uses: small images, and the real command line."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import run_here

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: in networks this small threads only wait
for own in ("SOURCE", "WEIGHTS", "FOLDER", "CACHE"):  # of whoever runs the tests
    os.environ.pop(f"HYMENOPTERA_{own}", None)

pytest_plugins = ["torture.table"]

ARCHIVE = "HYMENOPTERA_TEST_ARCHIVE"
LEAN = [  # overrides for a run that draws nothing
    "report=false",
    *(f"callbacks.{n}.enabled=false" for n in ("grad_cam", "embeddings", "figures")),
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def write_images(root: Path, parts: dict[str, dict[str, int]], side_px: int = 40) -> Path:
    """Write class folders of noisy images whose tint tells the class: {part: {class: count}}."""
    generator = np.random.default_rng(0)
    for part, classes in parts.items():
        for label, (name, count) in enumerate(classes.items()):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (side_px, side_px + 8, 3))
                pixels[..., label % 3] //= 3
                Image.fromarray(pixels.astype("uint8")).save(folder / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and val/ of three classes."""
    classes = ("ash", "birch", "cedar")
    root = tmp_path_factory.mktemp("images") / "trees"
    return write_images(
        root, {"train": dict.fromkeys(classes, 8), "val": dict.fromkeys(classes, 4)}
    )


def tiny_overrides(images: Path) -> list[str]:
    """Overrides for a run of two epochs that takes a second or two."""
    return [
        "data=imagefolder",
        f"data.root={images}",
        "data.num_workers=0",
        "data.batch_size=8",
        "model.weights=none",
        "model.backbone=mobilenet_v3_small",  # little to save and load
        "model.image_size=32",
        "trainer.max_epochs=2",
    ]


@pytest.fixture
def tiny(images: Path) -> list[str]:
    """`tiny_overrides` on the small images."""
    return tiny_overrides(images)


def start(
    script: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]
) -> multiprocessing.Process:
    """Start `python train.py ARGUMENTS` or `hymenoptera ARGUMENTS` in a folder.

    The process is forked from a server that has imported torch and Lightning: the command is the
    real one, without the seconds of their import.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "pytorch_lightning", "tensorboard"])
    environment = {"HYDRA_FULL_ERROR": "0", **environment}
    process = context.Process(target=run_here, args=(script, [*arguments], folder, environment))
    process.start()
    return process  # type: ignore[return-value]


def run(
    script: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]
) -> Ended:
    """As `start`, to its end."""
    process = start(script, arguments, folder, environment)
    process.join(timeout=300)
    assert process.exitcode is not None, "the command did not end"
    return Ended(
        process.exitcode, (folder / "out.txt").read_text(), (folder / "err.txt").read_text()
    )


@pytest.fixture
def start_train(tmp_path: Path) -> Callable[..., multiprocessing.Process]:
    """Start `python train.py ARGUMENTS` in tmp_path."""
    return lambda *arguments, **environment: start("train.py", arguments, tmp_path, environment)


@pytest.fixture
def run_train(tmp_path: Path) -> Callable[..., Ended]:
    """Run `python train.py ARGUMENTS` in tmp_path to its end."""
    return lambda *arguments, **environment: run("train.py", arguments, tmp_path, environment)


@pytest.fixture
def hymenoptera(tmp_path: Path) -> Callable[..., Ended]:
    """Run `hymenoptera ARGUMENTS` in tmp_path to its end; `in.txt` there is its stdin."""
    return lambda *arguments, **environment: run("hymenoptera", arguments, tmp_path, environment)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The folder of a tiny run, for the tests that only read it."""
    folder = tmp_path_factory.mktemp("finished")
    ended = run("train.py", (*tiny_overrides(images), "hydra.run.dir=run"), folder, {})
    assert ended.status == 0, ended.err
    return folder / "run"


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The real hymenoptera archive; skips where the environment does not name it."""
    if ARCHIVE not in os.environ:
        pytest.skip(f"needs the real archive: set {ARCHIVE} to it")
    return Path(os.environ[ARCHIVE])


@pytest.fixture(autouse=True)
def _no_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HYMENOPTERA_SOURCE", "HYMENOPTERA_WEIGHTS", "HYMENOPTERA_FOLDER"):
        monkeypatch.delenv(name, raising=False)


def wait_for(
    condition: Callable[[], bool], process: multiprocessing.Process, timeout_s: float = 120
) -> None:
    """Wait until something has happened while a command runs."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.is_alive(), "the command ended early"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
