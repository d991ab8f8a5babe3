"""Memory, clocks, locales, folders and numbers that are not as they should be."""

import json
import os
import subprocess
import sys

import pytest

from command_line import ROOT
from conftest import write_images

pytestmark = pytest.mark.torture
CALLBACKS = """
import itertools, time
import pytorch_lightning as pl
import torch

class LittleMemory(pl.Callback):
    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

class JumpingClock(pl.Callback):
    def __init__(self):
        began, looks = time.time(), itertools.count()
        time.time = lambda: began - 3600 * next(looks)
"""


@pytest.fixture(autouse=True)
def _callbacks(tmp_path):
    (tmp_path / "spoil.py").write_text(CALLBACKS)


def test_out_of_memory_names_the_batch(tmp_path, run_train, small):
    spoilt = "+callbacks.spoil._target_=spoil.LittleMemory"
    ended = run_train(*small, spoilt, "hydra.run.dir=run")
    assert ended.status == 1
    assert "memory ran out with batches of 8 images: halve data.batch_size" in ended.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


def test_a_clock_that_jumps_back(tmp_path, run_train, small):
    clock = "+callbacks.spoil._target_=spoil.JumpingClock"
    for name, options in (("jumped", [clock]), ("steady", [])):
        ended = run_train(*small, *options, f"hydra.run.dir={name}")
        assert (ended.status, ended.err) == (0, "")
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "jumped" / file).read_bytes() == (
            tmp_path / "steady" / file
        ).read_bytes()
    durations = json.loads((tmp_path / "jumped" / "summary.json").read_text())["durations"]
    assert 0 < durations["fit_s"] < durations["total_s"] < 300


def test_no_locale_no_home_and_a_folder_with_spaces_and_umlauts(tmp_path, small):
    """A whole run and its report in a process of their own, whose console knows ASCII only."""
    place = tmp_path / "Käfer & Bäume, 2. Versuch (größer)"
    names = {"Ähre": 3, "süß sauer": 3}
    write_images(place / "Bilder für alle", {"train": names, "val": names})
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHONUTF8"))}
    environment |= {"LANG": "C", "HOME": "/proc/nowhere", "PYTHONIOENCODING": "ascii"}
    options = ["data.root='Bilder für alle'", "trainer.max_epochs=1", "hydra.run.dir='Läufe/Nr. 1'"]
    command = [sys.executable, ROOT / "train.py", *small, *options]
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()
    run = place / "Läufe" / "Nr. 1"
    for file in ("summary.json", "predictions.csv", "report.html"):
        assert "Ähre" in (run / file).read_text(encoding="utf-8")


def test_a_loss_that_is_no_number(tmp_path, run_train, small, lr=1e30):
    ended = run_train(*small, f"optimizer.lr={lr:g}", "optimizer=sgd", "hydra.run.dir=run")
    assert ended.status == 1
    assert "train/loss is nan in step" in ended.err or "train/loss is inf in step" in ended.err
    assert f"at a learning rate of {lr:g}" in ended.err and f"lr={lr / 10:g}" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
