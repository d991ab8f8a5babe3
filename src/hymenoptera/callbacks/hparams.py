"""TensorBoard's HPARAMS page: what was set, beside what came out."""

from typing import Any

import pytorch_lightning as pl
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import hparams

from hymenoptera.callbacks.boards import tensorboards
from hymenoptera.callbacks.history import history_of
from hymenoptera.config import flatten
from hymenoptera.models.module import ClassifierModule

WATCHING = ("callbacks.", "logger.", "message.", "report")  # no settings of the training
METRICS = ("val/accuracy", "val/loss")  # as they are in the best epoch


class Hparams(pl.Callback):
    """Declares settings at the start, and logs the best epoch's metrics after every epoch.

    Args:
        settings: dotted keys of the config that are shown always; what the command line overrode
            is shown beside them, less what merely watches.
    """

    def __init__(self, settings: list[str]) -> None:
        self._keys = settings
        self._end: Summary | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the page's declaration: the settings, and the names of the metrics to come."""
        assert isinstance(pl_module, ClassifierModule)
        settings = _chosen(pl_module.facts, self._keys)
        for logger in tensorboards(trainer):
            begin, session, self._end = _declaration(settings)
            writer = logger.experiment._get_file_writer()
            writer.add_summary(begin)
            writer.add_summary(session)
            logger.hparams.update(settings)  # Lightning writes them as hparams.yaml

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the best epoch so far has."""
        best = history_of(trainer).best() or {}
        for logger in tensorboards(trainer):
            for name in METRICS:
                logger.experiment.add_scalar(_best(name), best[name], trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the run as finished."""
        for logger in tensorboards(trainer):
            logger.experiment._get_file_writer().add_summary(self._end)


def _chosen(facts: dict[str, Any], keys: list[str]) -> dict[str, bool | int | float | str]:
    given = (override.lstrip("+~").split("=")[0] for override in facts["overrides"])
    overridden = [key for key in given if not key.startswith(WATCHING)]
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in flatten(facts["config"]).items()
        if key in keys or any(key == o or key.startswith(f"{o}.") for o in overridden)
    }


def _declaration(settings: dict[str, Any]) -> tuple[Summary, Summary, Summary]:
    found: tuple[Summary, Summary, Summary]
    names = {_best(name): 0.0 for name in METRICS}  # of which it takes the names alone
    found = hparams(settings, names)  # type: ignore[no-untyped-call]
    return found


def _best(name: str) -> str:
    return f"best/{name.replace('/', '_')}"
