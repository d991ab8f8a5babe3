"""What a user might plug in: tests name these classes as my_module.MyCallback, ..."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MyCallback(pl.Callback):
    def on_fit_end(self, trainer, pl_module):
        print("MyCallback was here")


class MyModule(pl.LightningModule):
    """Takes nothing of what conf/model/resnet18.yaml gives."""

    def __init__(self, classes):
        super().__init__()
        layers = nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, len(classes))
        self.network = nn.Sequential(*layers)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        correct = self.network(batch[0]).argmax(dim=1) == batch[1]
        self.log("val/accuracy", correct.float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class MyDataModule(pl.LightningDataModule):
    """Has neither classes nor a summary that its own class did not give it."""

    classes = ("dark", "light")

    def setup(self, stage):
        images = torch.cat([torch.zeros(8, 3, 32, 32), torch.ones(8, 3, 32, 32)])
        self.dataset = TensorDataset(images, torch.tensor([0] * 8 + [1] * 8))

    def train_dataloader(self):
        return DataLoader(self.dataset, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.dataset, batch_size=4)


class MyLogger(Logger):
    name, version = "mine", "0"

    def log_metrics(self, metrics, step=None):
        with Path("logged.txt").open("a") as file:
            file.write(f"{step} {metrics}\n")

    def log_hyperparams(self, params, *args):
        pass
