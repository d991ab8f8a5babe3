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

ERRORS = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail at x.cpp:1] DefaultCPUAllocator: can't allocate memory"),
}

class LittleMemory(pl.Callback):
    def __init__(self, limit, kind="gpu"):
        self.limit, self.kind = limit, kind

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        if len(batch[1]) > self.limit:
            raise ERRORS[self.kind]

class JumpingClock(pl.Callback):
    def __init__(self):
        began, looks = time.time(), itertools.count()
        time.time = lambda: began - 3600 * next(looks)
"""


@pytest.fixture(autouse=True)
def _callbacks(tmp_path):
    (tmp_path / "spoil.py").write_text(CALLBACKS)


def little_memory(limit, kind="gpu"):
    """Overrides under which a training step of more images does not fit."""
    node = "+callbacks.spoil"
    return [f"{node}._target_=spoil.LittleMemory", f"{node}.limit={limit}", f"{node}.kind={kind}"]


def same(folder, one, other):
    for file in ("metrics.csv", "predictions.csv"):
        assert (folder / one / file).read_bytes() == (folder / other / file).read_bytes()


@pytest.mark.parametrize(
    ("limit", "kind", "answer", "size"), [(4, "gpu", "fail", 8), (0, "cpu", "halve", 1)]
)
def test_out_of_memory_names_the_batch(tmp_path, run_train, small, limit, kind, answer, size):
    options = (*little_memory(limit, kind), f"out_of_memory={answer}", "hydra.run.dir=run")
    ended = run_train(*small, *options)
    assert ended.status == 1
    assert f"memory ran out with batches of {size} images: set data.batch_size=" in ended.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


def test_batches_are_halved_and_accumulated(tmp_path, run_train, small):
    """As often as it takes, from the first weights again: as if the config had said so."""
    plain = [*small, "optimizer=sgd", "optimizer.lr=1e-2", "report=false"]
    halve = [*little_memory(2), "out_of_memory=halve"]
    asked = ["data.batch_size=2", "trainer.accumulate_grad_batches=4"]
    for name, options in (("halved", halve), ("asked", asked)):
        ended = run_train(*plain, *options, f"hydra.run.dir={name}")
        assert ended.status == 0, ended.err + ended.out
    same(tmp_path, "halved", "asked")


def test_memory_that_runs_out_in_a_resumed_run_loses_no_epoch(tmp_path, run_train, small):
    assert run_train(*small, *little_memory(8), "hydra.run.dir=run", "report=false").status == 0
    before = (tmp_path / "run" / "metrics.csv").read_text()
    less = ("resume=run", "trainer.max_epochs=3", "callbacks.spoil.limit=4")
    ended = run_train(*less)
    assert (ended.status, "memory ran out" in ended.err) == (1, True)
    assert (tmp_path / "run" / "metrics.csv").read_text() == before
    ended = run_train(*less, "out_of_memory=halve")
    assert ended.status == 0, ended.err
    after = (tmp_path / "run" / "metrics.csv").read_text()
    assert (after.startswith(before), len(after.splitlines())) == (True, 4)


def test_a_clock_that_jumps_back(tmp_path, run_train, small):
    clock = "+callbacks.spoil._target_=spoil.JumpingClock"
    for name, options in (("jumped", [clock]), ("steady", [])):
        ended = run_train(*small, *options, f"hydra.run.dir={name}")
        assert (ended.status, ended.err) == (0, "")
    same(tmp_path, "jumped", "steady")
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


@pytest.mark.parametrize("lr", [1e30, 1e18])
def test_a_loss_that_is_no_number(tmp_path, run_train, small, lr):
    ended = run_train(*small, f"optimizer.lr={lr:g}", "optimizer=sgd", "hydra.run.dir=run")
    assert ended.status == 1
    assert "train/loss is nan in step" in ended.err or "train/loss is inf in step" in ended.err
    assert f"at a learning rate of {lr:g}" in ended.err and f"lr={lr / 10:g}" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
