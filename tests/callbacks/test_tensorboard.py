"""What a run writes for TensorBoard; `tests/test_training.py` reads the rest of it."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.conftest import Fit, Foreign, ForeignData, make_classifier, make_data, make_trainer
from hymenoptera.callbacks import (
    AugmentedImages,
    Embeddings,
    Evaluation,
    EvaluationFigures,
    GradCamImages,
    History,
    RunRecord,
    TensorBoard,
)
from hymenoptera.callbacks.figures import AfterEvaluation


def watchers(folder: Path) -> list[pl.Callback]:
    """What writes the run folder, and what TensorBoard shows."""
    config = OmegaConf.create({"resume": None, "seed": 3, "optimizer": {"lr": 2e-4}})
    return [
        *(RunRecord(config, folder, {}, ["seed=3"], 0.0), Evaluation(), History()),
        *(TensorBoard(["seed", "optimizer.lr"]), AugmentedImages(15)),
        *(EvaluationFigures(), GradCamImages(), Embeddings()),
    ]


def test_without_tensorboard_images_are_files_alone(images: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, *watchers(tmp_path), max_epochs=1)
    model, data = make_classifier(), make_data(images)
    trainer.fit(model, datamodule=data)
    trainer.validate(model, datamodule=data, verbose=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.csv", "predictions.csv", "images"}
    assert list((tmp_path / "images").rglob("*.jpg"))


def test_another_model_and_data_module_are_watched_as_far_as_it_goes(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [*watchers(tmp_path), ModelCheckpoint(tmp_path, "best", monitor="valid_loss")]
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = fit(*callbacks, logger=logger)
    trainer.validate(Foreign(), datamodule=ForeignData(), verbose=False)
    trainer.test(Foreign(), datamodule=ForeignData(), verbose=False)
    scalars = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert {"throughput/train_images_per_s", "train_loss_epoch", "valid_loss"} <= set(scalars)
    assert not (tmp_path / "images").exists() and not (tmp_path / "predictions.csv").exists()
    assert not [r for r in caplog.records if r.name.startswith("hymenoptera")]


def test_a_figure_that_fails_is_a_warning(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(AfterEvaluation):
        def draw(self, trainer, result, writer):
            raise ValueError("no ink")

    trainer = make_trainer(tmp_path, Evaluation(), Broken())
    trainer.validate(make_classifier(), datamodule=make_data(images), verbose=False)
    assert "Broken could not be drawn: no ink" in caplog.messages
