"""Ctrl-C and a scheduler's SIGTERM: stop at the batch, keep what there is."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)


class InterruptedTraining(Exception):  # noqa: N818
    """Training was asked to stop. Raised between two batches, through the Trainer."""


@contextmanager
def interruptible(interruption: "Interruption") -> Iterator[None]:
    """Make whatever ends a fit that was asked to stop an `InterruptedTraining`.

    Lightning answers SIGTERM with a SystemExit of its own, of status 0; and a signal to all
    processes ends those that read pictures, which the Trainer takes for a failure.
    """
    try:
        yield
    except (SIGTERMException, Exception) as error:
        if interruption.asked:
            raise InterruptedTraining from error
        raise


class Interruption(pl.Callback):
    """Turns the first SIGINT or SIGTERM into `InterruptedTraining` at the end of the batch.

    The second one ends the process at once, with status 130. (Left to itself, Lightning ends the
    process at the first, and the record is never written.) Of several processes all stop at the
    batch in which one was asked to.

    Attributes:
        asked: whether one has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over SIGTERM once more.

        Lightning has by now put a handler of its own in front, which waits for the other processes
        of a run, whatever they do.
        """
        signal.signal(signal.SIGTERM, self._ask)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop here, where it was asked for."""
        self._stop_if_asked(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop here, where it was asked for."""
        self._stop_if_asked(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(130)
        self.asked = True
        log.warning("Stopping at the end of this batch; once more leaves at once.")

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        asked = self.asked
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            self.asked = True  # whichever process was
            raise InterruptedTraining
