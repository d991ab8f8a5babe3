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

from hymenoptera.callbacks.history import history_of
from hymenoptera.callbacks.record import batch_size, metadata_of
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


class TensorBoard(pl.Callback):
    """What TensorBoard shows beside the logged scalars, and updates as a run goes on.

    CUSTOM SCALARS has training and validation in one chart, and a chart each for learning rates
    and throughput: training images a second of each epoch, reading included, up to its last step.
    TEXT has the composed config. HPARAMS has how the run was configured, beside the metrics of its
    best epoch, see `History.best`. Every other logger has the hyperparameters too.

    Args:
        keys: dotted keys of the config that HPARAMS always shows; what the command line overrode
            is shown beside them, except what merely watches the training.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = list(keys)
        self._chosen: dict[str, Any] = {}
        self._images = 0
        self._began = self._ended = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metadata = metadata_of(trainer)
        config = OmegaConf.create(metadata.get("config", {}))
        self._chosen = _hyperparameters(config, self._keys, metadata.get("overrides", []))
        text = "".join(f"    {line}\n" for line in OmegaConf.to_yaml(config).splitlines())
        for logger in trainer.loggers if trainer.is_global_zero else []:
            logger.log_hyperparams(self._chosen)  # TensorBoard's writes hparams.yaml too
        for logger in tensorboards(trainer):
            logger.experiment.add_custom_scalars(LAYOUT)
            if config:
                logger.experiment.add_text("config", text)  # indented: code, in Markdown

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # an epoch that is resumed in its middle has no other start
        self._images, self._began = 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += batch_size(batch) * trainer.world_size
        self._ended = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in tensorboards(trainer) if self._images else []:
            rate = self._images / (self._ended - self._began)
            logger.experiment.add_scalar(THROUGHPUT, rate, trainer.global_step)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_end(trainer)
        self.on_train_start(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # by now ModelCheckpoint has looked at the last epoch
        history = history_of(trainer)
        best = (history and history.best) or {}
        names = [name for name in ("val/accuracy", "val/loss") if name in best]
        metrics = {f"best/{name.replace('/', '_')}": best[name] for name in names}
        for logger in tensorboards(trainer) if self._chosen and metrics else []:
            logger.log_hyperparams(self._chosen, metrics, trainer.global_step)


def _hyperparameters(config: Any, keys: Sequence[str], overrides: list[str]) -> dict[str, Any]:
    texts = dict.fromkeys(keys if config else [], "")
    for override in overrides:
        key, _, text = override.lstrip("+~").partition("=")
        if re.split(r"[./]", key)[0] not in WATCHING:
            texts[key] = text
    values = {key: OmegaConf.select(config, key) for key in texts}
    plain = (bool, int, float, str)
    return {k: v if isinstance(v, plain) else texts[k] or str(v) for k, v in values.items()}


class AugmentedImages(pl.Callback):
    """Draws the first training images of the run, augmented, with their class names.

    They go to TensorBoard's images and to `images/augmented.png` in the run folder. Only for the
    data modules of this project.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
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
