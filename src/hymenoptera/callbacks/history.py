"""metrics.csv: one row an epoch, the same after a resume as without one."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.reports.record import write_csv

Row = dict[str, float]
STATE = ("rows", "_best_at", "_learning_rates", "_validation", "_validation_names")


class History(pl.Callback):
    """Keeps each epoch's metrics, and writes metrics.csv after each.

    A row has `epoch` (from 1), `step`, what was logged with `self.log`, and `lr/PART`, the learning
    rates of its last step. What validation logs is blank in the row of an epoch without one; a
    validation within an epoch has a row of its own, with its metrics alone. The rows travel in the
    checkpoint, so that a resumed run continues the table that it had.

    Attributes:
        rows: from the run's first epoch on.

    Args:
        folder: where metrics.csv is written; the trainer's `default_root_dir` by default.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.rows: list[Row] = []
        self._folder = folder
        self._trainer: pl.Trainer | None = None
        self._best_at = -1  # among the rows
        self._best_score: Any = None
        self._learning_rates: Row = {}
        self._validation: Row = {}  # the latest, until it is in a row
        self._validation_names: list[str] = []
        self._names_before: set[str] = set()  # metrics that there were before validation
        self._ended: Row = {}  # epoch and step of one that has ended and has no row yet

    @property
    def best(self) -> Row | None:
        """The row that the first ModelCheckpoint with a monitor has taken for the best."""
        return self.rows[self._best_at] if 0 <= self._best_at < len(self.rows) else None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin without what an earlier fit has left over."""
        self._trainer, self._ended = trainer, {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See what ModelCheckpoint has from before a resume."""
        self._best_score = _best_score(trainer)
        if self._best_score is None:  # its file is gone
            self._best_at = -1

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Take down the step's learning rates; a validation before it was within the epoch."""
        if self._validation:
            self._add({})
        self._learning_rates = learning_rates(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take down which metrics there are already."""
        self._names_before = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take down what validation has logged."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            metrics = _metrics(trainer)
            known = self._names_before.union(self._validation_names)
            self._validation_names += [name for name in metrics if name not in known]
            own = {name: metrics[name] for name in self._validation_names if name in metrics}
            self._validation = _place(trainer) | own

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the epoch has ended: the model may log its metrics after this hook."""
        self._ended = _place(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the row of the epoch before."""
        self.update()

    on_train_end = on_train_epoch_start

    def update(self) -> None:
        """Add the row of an epoch that has ended, and see whether there is a new best."""
        if self._trainer is None:
            return
        if self._ended:
            self._validation = self._ended | self._validation
            self._ended = {}
            metrics = _metrics(self._trainer)
            self._add({k: v for k, v in metrics.items() if k not in self._validation_names})
        score = _best_score(self._trainer)
        if score is not None and score != self._best_score:
            self._best_score = score  # a validation that has no row yet will have the next one
            self._best_at = len(self.rows) - (0 if self._validation else 1)

    def state_dict(self) -> dict[str, Any]:
        """The rows and what is not yet in one, for the checkpoint."""
        self.update()
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows, from the checkpoint."""
        vars(self).update(state_dict)

    def _add(self, train: Row) -> None:
        """Add a row and write the file: epoch, step, training, validation, learning rates."""
        place = {name: self._validation.pop(name) for name in ("epoch", "step")}
        rates = {f"lr/{name}": lr for name, lr in self._learning_rates.items()}
        self.rows.append(place | train | self._validation | rates)
        self._validation = {}
        if self._trainer is None or not self._trainer.is_global_zero:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        validated = set(self._validation_names)
        header = sorted(names, key=lambda n: (n not in place, n.startswith("lr/"), n in validated))
        cells = [[repr(row[n]) if n in row else "" for n in header] for row in self.rows]
        folder = Path(self._folder or self._trainer.default_root_dir)
        write_csv(folder / "metrics.csv", [header, *cells])


def history_of(trainer: pl.Trainer) -> History | None:
    """The `History` among a trainer's callbacks, brought up to date; None where there is none."""
    history = callback_of(trainer, History)
    if history is not None:
        history.update()
    return history


def learning_rates(trainer: pl.Trainer) -> Row:
    """The learning rate of each part of the model in this step; 0 while it is frozen."""
    own = getattr(trainer.lightning_module, "learning_rates", None)
    if own is not None:
        return dict(own())
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return {str(group.get("name", i)): float(group["lr"]) for i, group in enumerate(groups)}


def _place(trainer: pl.Trainer) -> Row:
    return {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}


def _metrics(trainer: pl.Trainer) -> Row:
    return {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if not name.endswith(("_step", "_epoch"))  # of a step, and the same again
        and not name.startswith("lr-")  # LearningRateMonitor's
    }


def _best_score(trainer: pl.Trainer) -> tuple[str, float] | None:
    """What changes when ModelCheckpoint has a new best."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            score = callback.best_model_score
            return None if score is None else (callback.best_model_path, float(score))
    return None
