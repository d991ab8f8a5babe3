"""The console of a run: a progress bar within the epoch, and one line when it is over."""

import logging
import re
import time
import warnings
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from hymenoptera.callbacks.history import history_of
from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.callbacks.lr_range import LearningRateRange
from hymenoptera.reports.tables import format_duration

log = logging.getLogger(__name__)

EXPLAINED_WARNINGS = (
    "`isinstance(treespec, LeafSpec)` is deprecated",  # in Lightning's use of torch
    "Encountered `nan` values in tensor. Will be removed.",  # the run fails and says so
    "It is recommended to use `self.log(",  # values that are the same in all processes
    "You're resuming from a checkpoint that ended before the epoch ended",  # our samplers continue
    "Checkpoint directory ",  # exists and is not empty: of course, in a resumed run
)
"""Warnings that a user of this project can do nothing about, by how their text begins."""

SHOWN = (  # at level INFO: a profile that was asked for, and why all processes are ended
    "pytorch_lightning.profilers.profiler",
    "lightning_fabric.strategies.launchers.subprocess_script",
)


def quiet_libraries() -> None:
    """Send Lightning's lines where all lines go, and only those that a user can act on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    for name in SHOWN:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for text in EXPLAINED_WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(text))


class EpochTable(pl.Callback):
    """Prints a table of the epochs, and a bar while one runs.

    It needs a `History` among the callbacks, and prints nothing without one. "best so far" is what
    ModelCheckpoint says, whatever it monitors. There is no bar where Lightning's own is on, nor
    where stderr is no terminal.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._began = self._took_s = 0.0
        self._printed = 0  # rows of the history
        self._columns: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        history = history_of(trainer)
        self._printed = len(history.rows) if history is not None else 0
        self._began = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer)
        self._began = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self._bar is None:
            off = not trainer.is_global_zero or trainer.progress_bar_callback is not None
            self._bar = tqdm(
                total=sum([trainer.num_training_batches, *trainer.num_val_batches]),
                desc=f"epoch {trainer.current_epoch + 1}",
                unit="batch",
                leave=False,
                disable=off or None,  # None: no bar where stderr is no terminal
            )
        self._bar.update()

    on_validation_batch_end = on_train_batch_end

    def on_train_epoch_end(self, *_: Any, **__: Any) -> None:
        self._took_s = time.monotonic() - self._began
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    on_exception = on_train_epoch_end

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._print(trainer)

    def _print(self, trainer: pl.Trainer) -> None:
        history = history_of(trainer)
        is_search = callback_of(trainer, LearningRateRange) is not None  # it prints what it finds
        if history is None or len(history.rows) == self._printed:
            return
        self._printed = len(history.rows)
        row = history.rows[-1]
        if is_search or not trainer.is_global_zero:
            return
        measured = [name for name in row if name not in ("epoch", "step") and name[:3] != "lr/"]
        columns = [*dict.fromkeys([*self._columns, *measured])]
        if columns != self._columns:
            self._columns = columns
            log.info("  ".join(["epoch", *(f"{name:>8}" for name in columns), "      time"]))
        cells = [_cell(name, row.get(name)).rjust(max(8, len(name))) for name in columns]
        mark = "  best so far" if row is history.best else ""
        took = format_duration(self._took_s)
        log.info("  ".join([f"{row['epoch']:5d}", *cells, f"{took:>10}{mark}"]))


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if name.endswith("accuracy") else f"{value:.4f}"
