"""metrics.csv: one row an epoch, the same after a resume as without one."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.reports.record import write_csv

Row = dict[str, float]
STATE = ("rows", "_best_epoch", "_so_far", "_learning_rates")


class History(pl.Callback):
    """Keeps each epoch's metrics, and writes metrics.csv after each.

    A row has `epoch` (from 1), `step`, what was logged with `self.log`, the latest of each, and
    `lr/PART`, the learning rates of its last step. What validation logs is blank in the row of an
    epoch without one. The rows travel in the checkpoint, so that a resumed run continues the table
    that it had.

    Attributes:
        rows: from the run's first epoch on.

    Args:
        folder: where metrics.csv is written; the trainer's `default_root_dir` by default.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.rows: list[Row] = []
        self._folder = folder
        self._trainer: pl.Trainer | None = None
        self._best_epoch = 0
        self._best_score: Any = None
        self._learning_rates: Row = {}
        self._before: dict[str, Tensor] = {}  # metrics of earlier epochs
        self._so_far: Row = {}  # of an epoch that is resumed in its middle
        self._ended: Row = {}  # epoch and step of one that has ended and has no row yet

    @property
    def best(self) -> Row | None:
        """The row of the epoch that the first ModelCheckpoint with a monitor takes for the best."""
        return next((row for row in self.rows if row["epoch"] == self._best_epoch), None)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._trainer, self._ended = trainer, {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._best_score = _best_score(trainer)
        if self._best_score is None:  # its file is gone
            self._best_epoch = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.update()
        self._before, self._so_far = dict(trainer.callback_metrics), {}

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._learning_rates = learning_rates(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = _place(trainer)  # the model may log its metrics after this hook

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.update()

    def update(self) -> None:
        """Add the row of an epoch that has ended, and see whether there is a new best."""
        if self._trainer is None:
            return
        place, score = self._ended or _place(self._trainer), _best_score(self._trainer)
        if score is not None and score != self._best_score:
            self._best_score, self._best_epoch = score, int(place["epoch"])
        if self._ended:
            self._ended = {}
            learning_rates = {f"lr/{name}": lr for name, lr in self._learning_rates.items()}
            self.rows.append(place | self._logged(self._trainer) | learning_rates)
            if self._trainer.is_global_zero:
                self._write(Path(self._folder or self._trainer.default_root_dir))

    def state_dict(self) -> dict[str, Any]:
        self.update()
        if self._trainer is not None:
            self._so_far = self._logged(self._trainer)
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def _logged(self, trainer: pl.Trainer) -> Row:
        """What was logged since the epoch began, that of validation last."""
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if value is not self._before.get(name)  # Lightning keeps what was logged before
            and not name.endswith(("_step", "_epoch"))  # of a step, and the same again
            and not name.startswith("lr-")  # LearningRateMonitor's
        }
        return dict(sorted((self._so_far | metrics).items(), key=lambda m: m[0].startswith("val")))

    def _write(self, folder: Path) -> None:
        names = dict.fromkeys(name for row in self.rows for name in row)
        header = sorted(names, key=lambda name: name.startswith("lr/"))
        cells = [[repr(row[n]) if n in row else "" for n in header] for row in self.rows]
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


def _best_score(trainer: pl.Trainer) -> tuple[str, float] | None:
    """What changes when ModelCheckpoint has a new best."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            score = callback.best_model_score
            return None if score is None else (callback.best_model_path, float(score))
    return None
