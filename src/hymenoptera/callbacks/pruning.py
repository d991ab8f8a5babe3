"""Stops a trial of a search that has no chance; its study lies beside its run folder."""

from typing import Any

import pytorch_lightning as pl

from hymenoptera.callbacks.history import History


class Pruning(pl.Callback):
    """Reports each epoch's validation accuracy to an Optuna trial, and stops where it says so.

    It never stops in the first quarter of the epochs, where a schedule is still warming up.

    Attributes:
        pruned_after: the epoch after which the run was stopped; None where it was not.

    Args:
        trial: an Optuna trial that is running.
        history: that has the epoch's row; it comes before this callback.
    """

    def __init__(self, trial: Any, history: History) -> None:
        self.pruned_after: int | None = None
        self._trial = trial
        self._history = history

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and stop if the trial is to be pruned."""
        row = self._history.rows[-1]
        self._trial.report(row["val/accuracy"], int(row["epoch"]))
        epochs = trainer.max_epochs or 0
        if epochs / 4 <= row["epoch"] < epochs and self._trial.should_prune():
            self.pruned_after = int(row["epoch"])
            trainer.should_stop = True
