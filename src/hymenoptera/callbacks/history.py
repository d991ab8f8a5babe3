"""metrics.csv: one row an epoch, the same after a resume as without one."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hymenoptera.errors import RunError
from hymenoptera.models.module import ClassifierModule
from hymenoptera.results.records import write_csv

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


def history_of(trainer: pl.Trainer) -> "History":
    """The history of a run, which each has."""
    return next(c for c in trainer.callbacks if isinstance(c, History))  # type: ignore[attr-defined]


class History(pl.Callback):
    """Keeps each epoch's metrics and writes metrics.csv after each.

    The rows travel in the checkpoint, so that a resumed run goes on with the table it had.

    Attributes:
        rows: `epoch` (from 1), `step`, each of METRICS, and the rate of each parameter group.
        images_trained: how many since this process began, each as often as it was shown.

    Args:
        folder: where metrics.csv is written; None to write nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.rows: list[dict[str, float]] = []
        self.images_trained = 0
        self._folder = folder

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the batch's images."""
        self.images_trained += len(batch[1]) * trainer.world_size  # as many in each process

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        metrics = trainer.callback_metrics
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row.update({name: float(metrics[name]) for name in METRICS})
        assert isinstance(pl_module, ClassifierModule)
        row.update({f"lr/{name}": rate for name, rate in pl_module.rates().items()})
        self.rows.append(row)
        if self._folder is not None:
            header = list(row)
            cells = [[repr(r[name]) for name in header] for r in self.rows]
            write_csv(self._folder / "metrics.csv", [header, *cells])
        for part in ("train", "val"):
            if not math.isfinite(row[f"{part}/loss"]):
                raise RunError(f"{part}/loss is {row[f'{part}/loss']} in epoch {row['epoch']}")

    def best(self) -> dict[str, float] | None:
        """The epoch with the highest validation accuracy, the first of equals."""
        return max(self.rows, key=lambda row: row["val/accuracy"], default=None)

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows, from the checkpoint."""
        self.rows = list(state_dict["rows"])
