"""What the network is shown: augmented training pictures, before the first step."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from hymenoptera.callbacks.boards import tensorboards
from hymenoptera.data.base import PictureDataModule
from hymenoptera.models.module import ClassifierModule
from hymenoptera.preprocessing import as_pictures
from hymenoptera.results.pictures import picture_grid


class AugmentedPictures(pl.Callback):
    """Draws the first training pictures of the run, augmented, with their class names.

    They go to TensorBoard's images and to `pictures/augmented.png` in the run folder.

    Args:
        count: how many.
    """

    def __init__(self, count: int = 16) -> None:
        self.count = count

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the grid, before the first step."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PictureDataModule)
        assert isinstance(pl_module, ClassifierModule)
        images, titles = data.show_training(self.count)
        shown = as_pictures(pl_module.classifier.preprocessing.denormalise(images))
        grid = picture_grid(shown, titles)
        path = Path(trainer.default_root_dir) / "pictures" / "augmented.png"
        path.parent.mkdir(exist_ok=True)
        grid.save(path)
        for logger in tensorboards(trainer):
            logger.experiment.add_image("pictures/augmented", np.asarray(grid), dataformats="HWC")
