"""TensorBoard's HPARAMS page: what was set, beside what came out."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams

from hymenoptera.callbacks.history import History

BEST = "best/val_accuracy"


class Hparams(pl.Callback):
    """Declares the settings at the start and the best validation accuracy after every epoch.

    Args:
        settings: by dotted key.
        history: that knows the best epoch; it comes before this callback.
    """

    def __init__(self, settings: dict[str, Any], history: History) -> None:
        self._history = history
        self._settings = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in settings.items()
        }
        self._end: Summary | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the page's declaration: the settings, and the name of the metric to come."""
        for logger in _tensorboards(trainer):
            begin, session, self._end = _declaration(self._settings)
            writer = logger.experiment._get_file_writer()
            writer.add_summary(begin)
            writer.add_summary(session)
            logger.hparams.update(self._settings)  # Lightning writes them as hparams.yaml

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the best validation accuracy so far."""
        best = max(row["val/accuracy"] for row in self._history.rows)
        for logger in _tensorboards(trainer):
            logger.experiment.add_scalar(BEST, best, trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the run as finished."""
        for logger in _tensorboards(trainer):
            logger.experiment._get_file_writer().add_summary(self._end)


def _declaration(settings: dict[str, Any]) -> tuple[Summary, Summary, Summary]:
    found: tuple[Summary, Summary, Summary]
    found = hparams(settings, {BEST: 0.0})  # type: ignore[no-untyped-call] # takes the name alone
    return found


def _tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
