"""TensorBoard's pages that a run begins with: charts that belong together, throughput, config."""

import time
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.loggers import TensorBoardLogger

from hymenoptera.callbacks.history import history_of
from hymenoptera.models.module import ClassifierModule

THROUGHPUT = "throughput/train_images_per_s"
LAYOUT = {  # category, chart, and patterns of the scalars that share it
    "training": {
        "loss": ["Multiline", ["train/loss$", "val/loss$"]],
        "accuracy": ["Multiline", ["train/accuracy$", "val/accuracy$"]],
        "learning rate of each part": ["Multiline", ["lr/.+"]],
        "images a second": ["Multiline", [f"{THROUGHPUT}$"]],
    }
}


def tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The loggers of a run that write TensorBoard's events."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


class ScalarLayout(pl.Callback):
    """Training against validation in one chart, and a chart each for rates and throughput."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the layout of the page CUSTOM SCALARS."""
        for logger in tensorboards(trainer):
            logger.experiment.add_custom_scalars(LAYOUT)


class Throughput(pl.Callback):
    """Training pictures a second of each epoch, with their reading, without validation."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._images_before = history_of(trainer).images_trained
        self._began = self._ended = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock, until the next batch ends."""
        self._ended = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's figure."""
        images = history_of(trainer).images_trained - self._images_before
        rate = images / (self._ended - self._began)
        for logger in tensorboards(trainer):
            logger.experiment.add_scalar(THROUGHPUT, rate, trainer.global_step)


class ConfigText(pl.Callback):
    """The composed config, as text."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it, as what Markdown takes for code."""
        assert isinstance(pl_module, ClassifierModule)
        text = OmegaConf.to_yaml(OmegaConf.create(pl_module.facts["config"]))
        for logger in tensorboards(trainer):
            logger.experiment.add_text(
                "config", "".join(f"    {line}\n" for line in text.splitlines())
            )
