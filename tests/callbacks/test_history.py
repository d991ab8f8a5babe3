"""metrics.csv: what a row has under each option of the Trainer, and which one is the best."""

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from callbacks.conftest import Fit
from hymenoptera.callbacks import History, LastCheckpoint


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def places(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(row["epoch"], row["step"]) for row in rows]


def test_a_row_an_epoch_with_learning_rates(fit: Fit, tmp_path: Path) -> None:
    history = History()
    logger = CSVLogger(tmp_path / "logs")
    fit(history, LearningRateMonitor("step"), logger=logger, num_sanity_val_steps=2)
    assert list(read(tmp_path)[0]) == [
        *("epoch", "step", "train_loss", "valid_loss", "valid_score", "lr/0")
    ]
    assert places(read(tmp_path)) == [("1", "3"), ("2", "6")]
    assert history.rows[0]["lr/0"] == 0.1
    assert history.rows[0]["valid_loss"] != history.rows[1]["valid_loss"]
    assert float(read(tmp_path)[1]["train_loss"]) == history.rows[1]["train_loss"]


def test_steps_that_end_in_an_epoch_leave_no_stale_figures(fit: Fit, tmp_path: Path) -> None:
    fit(History(), max_epochs=-1, max_steps=5)
    first, second = read(tmp_path)
    assert (second["epoch"], second["step"]) == ("2", "5")
    assert first["valid_loss"]
    assert second["valid_loss"] == ""
    assert second["train_loss"] != first["train_loss"]


def test_a_resume_in_mid_epoch_keeps_the_validation_before_it(fit: Fit, tmp_path: Path) -> None:
    options = {"val_check_interval": 2, "max_epochs": 1}
    best = ModelCheckpoint(tmp_path, "best", monitor="valid_loss", save_on_train_epoch_end=False)
    fit(History(), best, **options)
    (whole,), resumed = read(tmp_path), History()
    fit(resumed, ckpt_path=tmp_path / "best.ckpt", **options)
    assert (resumed.rows[0]["epoch"], resumed.rows[0]["step"]) == (1, 3)
    assert resumed.rows[0]["valid_loss"] == float(whole["valid_loss"])


def test_epochs_without_validation_are_blank(fit: Fit, tmp_path: Path) -> None:
    fit(History(), max_epochs=4, check_val_every_n_epoch=2)
    rows = read(tmp_path)
    assert [bool(row["valid_loss"]) for row in rows] == [False, True, False, True]
    assert all(row["train_loss"] for row in rows)


@pytest.mark.parametrize("more", [{}, {"val_check_interval": 2}, {"check_val_every_n_epoch": 2}])
def test_a_resumed_run_writes_the_same_bytes(fit: Fit, tmp_path: Path, more: dict) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()

    def callbacks(name: str) -> list:
        best = ModelCheckpoint(tmp_path / name, "best", monitor="valid_loss")
        return [History(tmp_path / name), best, LastCheckpoint(dirpath=tmp_path, filename=name)]

    whole, parts = callbacks("whole"), callbacks("parts")
    fit(*whole, max_epochs=4, **more)
    fit(*callbacks("parts"), max_epochs=2, **more)
    fit(*parts, max_epochs=4, ckpt_path=tmp_path / "parts.ckpt", **more)
    one, other = (tmp_path / name / "metrics.csv" for name in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()
    assert whole[0].best == parts[0].best
    assert whole[0].best is not None


@pytest.mark.parametrize(
    "options",
    [
        {"monitor": "valid_loss", "save_top_k": 3, "filename": "{epoch}"},
        {"monitor": "train_loss"},
        {"monitor": "valid_loss", "mode": "max", "save_top_k": -1},
    ],
)
@pytest.mark.parametrize("more", [{}, {"val_check_interval": 2}])
def test_the_best_row_is_model_checkpoints(
    fit: Fit, tmp_path: Path, options: dict, more: dict
) -> None:
    history, best = History(), ModelCheckpoint(dirpath=tmp_path / "checkpoints", **options)
    fit(history, best, max_epochs=5, **more)
    assert history.best is not None
    saved = torch.load(best.best_model_path, weights_only=True)
    assert history.best["epoch"] == saved["epoch"] + 1
    if not more:
        assert history.best["step"] == saved["global_step"]
        assert history.best[options["monitor"]] == float(best.best_model_score)
