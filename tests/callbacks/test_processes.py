"""Callbacks in a run of two processes."""

import csv
import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from callbacks.conftest import make_classifier, make_data, make_trainer, watchers
from hymenoptera.callbacks import (
    EpochTable,
    FeatureCache,
    FiniteLoss,
    Interruption,
    LastCheckpoint,
)

TWO = {"devices": 2, "strategy": "ddp_fork"}


def all_of_them(folder: Path) -> list[pl.Callback]:
    return [
        *watchers(),
        *(EpochTable(), Interruption(), FiniteLoss(), FeatureCache(folder / "features")),
        ModelCheckpoint(folder, "best", monitor="val/loss"),
        LastCheckpoint(dirpath=folder, filename="last"),
    ]


def test_each_file_is_written_once_and_validation_is_exact(tmp_path: Path, images: Path) -> None:
    """The steps of one process with batches of 8 are those of two with 4."""
    tables = []
    for name, size, options in (("one", 8, {}), ("two", 4, TWO)):
        folder = tmp_path / name
        folder.mkdir()
        logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
        trainer = make_trainer(folder, *all_of_them(folder), logger=logger, **options)
        model, data = make_classifier(), make_data(images, batch_size=size, views=0)
        trainer.fit(model, datamodule=data)
        best = folder / "best.ckpt"
        trainer.validate(model, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
        with (folder / "metrics.csv").open(newline="") as file:
            tables.append([list(map(float, row.values())) for row in csv.DictReader(file)])
        names = {path.name for path in folder.iterdir() if not path.name.startswith("events")}
        assert names == {
            *("metrics.csv", "predictions.csv", "hparams.yaml", "projector_config.pbtxt"),
            *("images", "embeddings", "features", "best.ckpt", "last.ckpt"),
        }
    assert tables[1] == [pytest.approx(row, abs=1e-5) for row in tables[0]]


class KillOne(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        path = Path(trainer.default_root_dir) / f"{trainer.global_rank}.txt"
        path.write_text(str(trainer.global_step))


def test_a_signal_to_one_process_stops_all_after_the_same_batch(
    tmp_path: Path, images: Path
) -> None:
    trainer = make_trainer(tmp_path, KillOne(), Interruption(), max_epochs=50, **TWO)
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="InterruptedTraining"):
        trainer.fit(make_classifier(), datamodule=make_data(images, batch_size=4))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["2", "2"]
