"""What TensorBoard shows from the start: charts, throughput, configuration, augmented images."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from hymenoptera.callbacks.history import history_of
from hymenoptera.callbacks.metadata import metadata_of
from hymenoptera.data import ImageDataModule
from hymenoptera.data.preprocessing import as_images
from hymenoptera.reports.images import image_grid

THROUGHPUT = "throughput/train_images_per_s"
LAYOUT = {  # category, chart, and patterns of the scalars that share it
    "training": {
        "loss": ["Multiline", ["train/loss$", "val/loss$"]],
        "accuracy": ["Multiline", ["train/accuracy$", "val/accuracy$"]],
        "learning rate of each part": ["Multiline", ["lr-.+"]],  # as LearningRateMonitor names them
        "images a second": ["Multiline", [f"{THROUGHPUT}$"]],
    }
}
WATCHING = ("callbacks", "logger", "message", "report", "resume", "sweep", "hydra")  # no part in it


def tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    """The loggers that write TensorBoard's events, in rank zero; empty in the other processes."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]


class ScalarLayout(pl.Callback):
    """Training and validation in one chart, and a chart each for learning rates and throughput."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the layout of the page CUSTOM SCALARS."""
        for logger in tensorboards(trainer):
            logger.experiment.add_custom_scalars(LAYOUT)


class Throughput(pl.Callback):
    """Training images a second of each epoch, with their reading, up to its last training step."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock: an epoch that is resumed in its middle has no other start."""
        self._images, self._began = 0, time.monotonic()

    on_train_epoch_start = on_train_start

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        self._images += batch_size(batch) * trainer.world_size
        self._ended = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch's figure."""
        for logger in tensorboards(trainer) if self._images else []:
            rate = self._images / (self._ended - self._began)
            logger.experiment.add_scalar(THROUGHPUT, rate, trainer.global_step)


class ConfigText(pl.Callback):
    """The composed config, as text; nothing without a `RunMetadata`."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it, as what Markdown takes for code."""
        config = OmegaConf.create(metadata_of(trainer).get("config", {}))
        text = "".join(f"    {line}\n" for line in OmegaConf.to_yaml(config).splitlines())
        for logger in tensorboards(trainer) if config else []:
            logger.experiment.add_text("config", text)


class Hparams(pl.Callback):
    """TensorBoard's HPARAMS page: how the run was configured, beside its best epoch's metrics.

    The best epoch is ModelCheckpoint's, see `History.best`. It needs a `RunMetadata` and a
    `History` among the callbacks.

    Args:
        keys: dotted keys of the config that are always shown; what the command line overrode is
            shown beside them, except what merely watches the training.
    """

    metrics = ("val/accuracy", "val/loss")

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._chosen: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the hyperparameters; Lightning writes hparams.yaml of them."""
        metadata = metadata_of(trainer)
        config = OmegaConf.create(metadata.get("config", {}))
        texts = dict.fromkeys(self._keys if config else [], "")
        for override in metadata.get("overrides", []):
            key, _, text = override.lstrip("+~").partition("=")
            if re.split(r"[./]", key)[0] not in WATCHING:
                texts[key] = text
        for key, text in texts.items():
            value = OmegaConf.select(config, key)
            is_plain = isinstance(value, bool | int | float | str)
            self._chosen[key] = value if is_plain else text or str(value)
        for logger in tensorboards(trainer):
            logger.log_hyperparams(self._chosen)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the best epoch so far: by now ModelCheckpoint has looked at the one before."""
        history = history_of(trainer)
        best = (history and history.best) or {}
        metrics = {f"best/{n.replace('/', '_')}": best[n] for n in self.metrics if n in best}
        for logger in tensorboards(trainer) if self._chosen and metrics else []:
            logger.log_hyperparams(self._chosen, metrics, trainer.global_step)

    on_train_end = on_train_epoch_start


class AugmentedImages(pl.Callback):
    """Draws the first training images of the run, augmented, with their class names.

    They go to TensorBoard's images and to `images/augmented.png` in the run folder. Only for the
    data modules of this project.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the grid, before the first step."""
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not isinstance(datamodule, ImageDataModule):
            return
        inputs, titles = datamodule.sample_grid(self.count)  # (N, 3, H, W) float32
        grid = image_grid(as_images(datamodule.preprocessing.denormalise(inputs)), titles)
        path = Path(trainer.default_root_dir) / "images" / "augmented.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grid.save(path)
        for logger in tensorboards(trainer):
            logger.experiment.add_image("images/augmented", np.asarray(grid), dataformats="HWC")


def batch_size(batch: Any) -> int:
    """How many samples a batch has, by its first tensor; 0 where it has none."""
    while isinstance(batch, list | tuple | dict) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch) if isinstance(batch, Tensor) and batch.ndim else 0
