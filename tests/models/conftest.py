"""Tiny data and Trainers for the tests of the classifier."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from hymenoptera.models import ImageClassifier

CLASSES = ["ash", "birch", "cedar"]


class Batches(DistributedSampler):
    """A new order every epoch; the first epoch can begin in the middle."""

    def __init__(self, count: int, size: int, epoch: int, skip: int) -> None:
        self.count, self.size, self.epoch, self.first, self.skip = count, size, epoch, epoch, skip

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.epoch))
        batches = [batch.tolist() for batch in order.split(self.size)]
        return iter(batches[self.skip if self.epoch == self.first else 0 :])


class Noise(pl.LightningDataModule):
    """Noise of three classes that can be resumed anywhere."""

    def __init__(
        self,
        count: int = 10,
        batch_size: int = 2,
        val_count: int = 6,
        shape: tuple[int, ...] = (3, 32, 32),
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(count + val_count, *shape, generator=generator)
        labels = torch.arange(count + val_count) % 3
        self.train = TensorDataset(images[:count], labels[:count])
        self.val = TensorDataset(images[count:], labels[count:])
        self.batch_size = batch_size
        self.epoch = self.batch = 0

    def train_dataloader(self) -> DataLoader:
        sampler = Batches(len(self.train), self.batch_size, self.epoch, self.batch)
        return DataLoader(self.train, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=4)

    test_dataloader = val_dataloader

    def state_dict(self) -> dict[str, int]:
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
        epoch = self.trainer.current_epoch
        if done >= self.trainer.num_training_batches:
            return {"epoch": epoch + 1, "batch": 0}
        return {"epoch": epoch, "batch": done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.batch = state["epoch"], state["batch"]


class Steps(pl.Callback):
    """Keeps what each step and each epoch gave."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[dict[str, float]] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(outputs["loss"]))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.rates.append(pl_module.learning_rates())

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
        metrics = trainer.callback_metrics
        self.epochs.append({n: float(metrics[n]) for n in names if n in metrics})


@pytest.fixture
def classifier() -> Callable[..., ImageClassifier]:
    """Build a classifier with fixed first weights."""

    def build(backbone: str = "resnet18", **options: Any) -> ImageClassifier:
        torch.manual_seed(0)
        size_px = None if backbone.startswith("vit") else 32
        options = {"weights": "none", "image_size": size_px, **options}
        return ImageClassifier(CLASSES, backbone, **options)

    return build


@pytest.fixture
def head(classifier: Callable[..., ImageClassifier]) -> Callable[..., ImageClassifier]:
    """Build a classifier of which the head alone is trained, on features."""
    return partial(classifier, "mobilenet_v3_small", unfreeze_epochs=[])


@pytest.fixture
def features() -> Callable[..., Noise]:
    """The data module of noise in place of the features of `head`."""
    return partial(Noise, shape=(1024,))


@pytest.fixture
def trainer() -> Callable[..., pl.Trainer]:
    """Build a quiet Trainer."""
    return partial(
        pl.Trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.fixture
def noise() -> type[Noise]:
    """The data module of noise."""
    return Noise


@pytest.fixture
def steps() -> Steps:
    """A callback that keeps what each step gave."""
    return Steps()
