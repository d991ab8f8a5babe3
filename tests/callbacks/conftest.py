"""A model and data of somebody else's, this project's own at a tiny size, and a quiet Trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from hymenoptera.data import ImageFolderDataModule
from hymenoptera.models import ImageClassifier

Fit = Callable[..., pl.Trainer]


class Foreign(pl.LightningModule):
    """Logs names of its own, and returns a bare loss, NaN in the step `fail_at`."""

    def __init__(self, lr: float = 0.1, fail_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.lr = lr
        self.fail_at = fail_at

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        if self.global_step == self.fail_at:
            loss = loss * torch.nan
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("valid_loss", loss)
        self.log("valid_score", -loss)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class ForeignData(pl.LightningDataModule):
    """12 training rows in batches of 4, 6 validation rows in batches of 2."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(18, 4, generator=generator)
        self._rows = TensorDataset(rows, (rows[:, 0] > 0).long())

    def train_dataloader(self):
        return DataLoader(torch.utils.data.Subset(self._rows, range(12)), batch_size=4)

    def val_dataloader(self):
        return DataLoader(torch.utils.data.Subset(self._rows, range(12, 18)), batch_size=2)

    test_dataloader = val_dataloader


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Fit a model on data with callbacks, in tmp_path; more options are the Trainer's."""

    def run(
        *callbacks: pl.Callback,
        model: Any = None,
        data: Any = None,
        ckpt_path: Any = None,
        **options: Any,
    ) -> pl.Trainer:
        trainer = make_trainer(tmp_path, *callbacks, **options)
        pl.seed_everything(0, verbose=False)
        model, data = model or Foreign(), data or ForeignData()
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


def make_trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
    }
    return pl.Trainer(callbacks=list(callbacks), **(defaults | options))


def make_classifier(**options: Any) -> ImageClassifier:
    """A small network for images of 32 px, of which the head alone is trained."""
    pl.seed_everything(0, verbose=False)
    defaults = {"weights": "none", "image_size": 32, "unfreeze_epochs": []}
    defaults["backbone"] = "shufflenet_v2_x0_5"
    return ImageClassifier(["ash", "birch", "cedar"], **(defaults | options))


def make_data(images: Path, **options: Any) -> ImageFolderDataModule:
    """24 images to train on in batches of 8, 12 to validate on in batches of 5."""
    defaults = {"batch_size": 8, "eval_batch_size": 5, "num_workers": 0}
    return ImageFolderDataModule(root=str(images), **(defaults | options))
