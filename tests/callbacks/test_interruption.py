"""Ctrl-C and SIGTERM, between two batches and before the first."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from callbacks.conftest import Foreign, ForeignData, make_trainer
from hymenoptera.callbacks import InterruptedTraining, Interruption, interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Kill(pl.Callback):
    """Sends this process a signal in a hook."""

    def __init__(self, number: int, hook: str) -> None:
        setattr(self, hook, lambda *_, **__: os.kill(os.getpid(), number))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("hook", "steps"),
    [("setup", 0), ("on_train_batch_start", 1), ("on_validation_batch_start", 3)],
)
def test_training_stops_at_the_end_of_the_batch(
    tmp_path: Path, number: int, hook: str, steps: int
) -> None:
    """And what there is of it can be evaluated."""
    kill = Kill(number, hook)
    trainer, model, data = make_trainer(tmp_path, Interruption(), kill), Foreign(), ForeignData()
    with pytest.raises(InterruptedTraining), interruptible(trainer):
        trainer.fit(model, datamodule=data)
    assert trainer.global_step == steps
    trainer.callbacks.remove(kill)
    (metrics,) = trainer.validate(model, datamodule=data, verbose=False)
    assert metrics["valid_loss"] > 0


def test_without_the_context_a_later_signal_does_what_it_did_before(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, Interruption(), Kill(signal.SIGINT, "on_train_batch_start"))
    with pytest.raises(InterruptedTraining):
        trainer.fit(Foreign(), datamodule=ForeignData())
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    class Failing(Foreign):
        def training_step(self, batch, batch_idx):
            raise ValueError("mine")

    trainer = make_trainer(tmp_path, Interruption())
    with pytest.raises(ValueError, match="mine"), interruptible(trainer):
        trainer.fit(Failing(), datamodule=ForeignData())


class KillOne(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        path = Path(trainer.default_root_dir) / f"{trainer.global_rank}.txt"
        path.write_text(str(trainer.global_step))


def test_a_signal_to_one_process_stops_all_after_the_same_batch(tmp_path: Path) -> None:
    two = {"devices": 2, "strategy": "ddp_fork"}
    trainer = make_trainer(tmp_path, KillOne(), Interruption(), max_epochs=50, **two)
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="InterruptedTraining"):
        trainer.fit(Foreign(), datamodule=ForeignData())
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["2", "2"]
