"""The console of a run: a progress bar inside the epoch, and one row when it is over."""

import logging
import re
import time
import warnings
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from hymenoptera.callbacks.history import History
from hymenoptera.results.tables import format_duration

log = logging.getLogger(__name__)

EXPLAINED_WARNINGS = (
    "`isinstance(treespec, LeafSpec)` is deprecated",  # in Lightning's use of torch
    "Encountered `nan` values in tensor. Will be removed.",  # the run fails and says so
    "It is recommended to use `self.log(",  # values that are the same in all processes
    "You're resuming from a checkpoint that ended before the epoch ended",  # samplers go on there
    "Checkpoint directory ",  # exists and is not empty: of course, in a resumed run
)
"""Warnings that a user of this project can do nothing about, by how their text begins."""

HEADER = "epoch   train loss  accuracy   val loss  accuracy    time"


def quieten_libraries() -> None:
    """Have Lightning's lines go where all lines go, and only those that a user can act on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    for text in EXPLAINED_WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(text))


class Console(pl.Callback):
    """Prints the table of epochs, and shows where the epoch stands.

    Args:
        history: whose rows are printed; it comes before this callback.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._bar: tqdm[Any] | None = None
        self._epoch_began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table's head."""
        log.info(HEADER)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar over the epoch's training and validation batches."""
        self._epoch_began = time.monotonic()
        total = int(trainer.num_training_batches) + sum(map(int, trainer.num_val_batches))
        self._bar = tqdm(
            total=total,
            desc=f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}",
            unit="batch",
            leave=False,
            disable=None,  # no bar where stderr is not a terminal
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar on."""
        self._advance()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move the bar on."""
        self._advance()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the bar by the epoch's row."""
        self._close()
        row = self._history.rows[-1]
        mark = "  best so far" if row is self._history.best() else ""
        log.info(
            f"{row['epoch']:5d}   {row['train/loss']:10.4f}  {100 * row['train/accuracy']:6.1f} %"
            f"   {row['val/loss']:8.4f}  {100 * row['val/accuracy']:6.1f} %"
            f"  {format_duration(time.monotonic() - self._epoch_began):>10}{mark}"
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave no half bar behind."""
        self._close()

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class StepBar(pl.Callback):
    """A progress bar over a fixed number of training steps.

    Args:
        title: of the bar.
        total: how many steps.
    """

    def __init__(self, title: str, total: int) -> None:
        self._bar = tqdm(total=total, desc=title, unit="step", leave=False, delay=1, disable=None)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar on."""
        self._bar.update()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave no half bar behind."""
        self._bar.close()
