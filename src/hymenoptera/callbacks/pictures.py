"""Pictures of a run: what the network is shown."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from hymenoptera.data.datamodule import PictureDataModule
from hymenoptera.models.module import ClassifierModule


def picture_grid(images: Tensor, titles: Sequence[str], side_px: int = 160) -> Image.Image:
    """Pictures in rows, each under its title.

    Args:
        images: (N, 3, H, W) float32 on the scale 0 to 1.
        titles: of the N pictures.
        side_px: side of a picture in the grid, in pixels.

    Returns:
        An RGB picture of about as many rows as columns.
    """
    columns = math.ceil(math.sqrt(len(titles)))
    rows = math.ceil(len(titles) / columns)
    gap, title_px = 8, 22
    cell = (side_px + gap, side_px + title_px + gap)
    grid = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    draw = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=14)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    for position, (picture, title) in enumerate(zip(pixels, titles, strict=True)):
        left = gap + position % columns * cell[0]
        top = gap + position // columns * cell[1]
        draw.text((left, top), title, fill="black", font=font)
        tile = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BICUBIC)
        grid.paste(tile, (left, top + title_px))
    return grid


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
        grid = picture_grid(pl_module.classifier.preprocessing.denormalise(images), titles)
        path = Path(trainer.default_root_dir) / "pictures" / "augmented.png"
        path.parent.mkdir(exist_ok=True)
        grid.save(path)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "pictures/augmented", np.asarray(grid), dataformats="HWC"
                )
