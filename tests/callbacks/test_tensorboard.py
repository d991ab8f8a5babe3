"""What a run writes for TensorBoard; `tests/test_training.py` reads the rest of it."""

from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.conftest import (
    Fit,
    Foreign,
    ForeignData,
    make_classifier,
    make_data,
    make_trainer,
    watchers,
)
from hymenoptera.callbacks import Evaluation, History
from hymenoptera.callbacks.figures import AfterEvaluation


def test_a_resumed_run(images: Path, tmp_path: Path) -> None:
    """What is drawn after it purges none of its curves; the best is ModelCheckpoint's."""
    logger = TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False, purge_step=0)
    callbacks = [*watchers(), ModelCheckpoint(tmp_path, "top", monitor="val/loss")]
    trainer = make_trainer(tmp_path, *callbacks, logger=logger, max_epochs=3)
    model, data = make_classifier(), make_data(images)
    trainer.fit(model, datamodule=data)
    model.logs_evaluation = False
    trainer.validate(model, datamodule=data, ckpt_path="best", weights_only=True, verbose=False)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("val/loss")) == 3
    assert [scalar.step for scalar in events.Scalars("throughput/train_images_per_s")] == [3, 6, 9]

    (history,) = [one for one in callbacks if isinstance(one, History)]
    best = min(history.rows, key=lambda row: row["val/loss"])
    assert events.Images("best/confusion")[0].step == best["epoch"]
    assert events.Scalars("best/val_loss")[-1].value == pytest.approx(best["val/loss"])
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(best["val/accuracy"])
    assert "hp_metric" not in events.Tags()["scalars"]
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for shown in (b"seed", b"optimizer.lr", b"optimizer.weight_decay", b"tree"):
        assert shown in content
    assert b"augmented_images" not in content
    assert "seed: 3" in (tmp_path / "hparams.yaml").read_text()


def test_without_tensorboard_images_are_files_alone(images: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, *watchers(), max_epochs=1)
    model, data = make_classifier(), make_data(images)
    trainer.fit(model, datamodule=data)
    trainer.validate(model, datamodule=data, verbose=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.csv", "predictions.csv", "images"}
    assert list((tmp_path / "images").rglob("*.jpg"))


def test_another_model_and_data_module_are_watched_as_far_as_it_goes(
    fit: Fit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [*watchers(), ModelCheckpoint(tmp_path, "best", monitor="valid_loss")]
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
