"""Ctrl-C and a scheduler's SIGTERM: stop after the batch, keep what there is."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

from hymenoptera.callbacks.lookup import callback_of

log = logging.getLogger(__name__)

AGREE_EVERY = 16  # batches: several GPUs do not wait for each other more often than that
EXIT_STATUS = 130  # the shell's for Ctrl-C


class InterruptedTraining(Exception):  # noqa: N818
    """A run was asked to stop. Raised between two batches, through the Trainer."""


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn whatever ends an interrupted `trainer.fit` into `InterruptedTraining`.

    Lightning answers SIGTERM and KeyboardInterrupt with a SystemExit of its own, and a signal that
    reaches all processes ends the DataLoader's workers too, which the Trainer takes for a failure.

    Raises:
        InterruptedTraining: the trainer was interrupted, and has an `Interruption`.
    """
    callback = callback_of(trainer, Interruption)
    try:
        yield
    except (SystemExit, Exception) as error:
        if callback is not None and callback.is_interrupted:
            raise InterruptedTraining from error
        raise
    finally:
        if callback is not None:
            callback.give_back()


class Interruption(pl.Callback):
    """Turns the first SIGINT or SIGTERM into `InterruptedTraining` at the end of the batch.

    The second one ends the process at once, with status 130. (By itself Lightning ends the process
    at the first, and no result is written.) Several processes all stop after the same batch.

    Attributes:
        is_interrupted: whether a signal has come, in whichever process.
    """

    def __init__(self) -> None:
        self.is_interrupted = self._in_loop = self._is_active = False
        self._previous: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.is_interrupted = self._in_loop = False
        self._is_active = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if self._is_active else ():
            before = signal.signal(number, self._on_signal)
            if before != self._on_signal:
                self._previous[number] = before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._in_loop = True
        if self._is_active:
            signal.signal(signal.SIGTERM, self._on_signal)

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **_: Any) -> None:
        if trainer.world_size > 1:
            on_cpu = trainer.strategy.root_device.type == "cpu"
            if not on_cpu and (args[3] + 1) % AGREE_EVERY:  # asking makes the host wait
                return
            agreed = trainer.strategy.reduce_boolean_decision(self.is_interrupted, all=False)
            self.is_interrupted = agreed
        if self.is_interrupted:
            raise InterruptedTraining

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end

    def give_back(self, *_: Any, **__: Any) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._is_active = False

    teardown = on_exception = give_back  # Lightning calls no teardown after an exception

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._is_active:  # after an exception Lightning puts this handler back
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)
        elif self.is_interrupted:
            os._exit(EXIT_STATUS)
        else:
            self.is_interrupted = True
            if not self._in_loop:  # nothing is lost, and no batch would end
                raise KeyboardInterrupt
            log.warning("Stopping at the end of this batch; once more leaves at once.")
