"""Loggers of other services, as options of the logger group, without a network."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended

RunTrain = Callable[..., Ended]


def test_mlflow_has_curves_and_hyperparameters(
    tmp_path: Path, run_train: RunTrain, tiny: list[str]
) -> None:
    ended = run_train(*tiny, "logger=mlflow", "report=false")
    assert ended.status == 0, ended.err
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        names = {row[0] for row in database.execute("select distinct key from metrics")}
        params = dict(database.execute("select key, value from params"))
    assert {"train/loss", "val/accuracy"} <= names
    assert params["optimizer.lr"] == "0.0001"


def test_wandb_offline_leaves_a_run_to_send_later(
    tmp_path: Path, run_train: RunTrain, tiny: list[str]
) -> None:
    overrides = ("logger=[tensorboard,wandb]", "logger.wandb.offline=true", "hydra.run.dir=run")
    ended = run_train(*tiny, *overrides, "report=false", WANDB_SILENT="true")
    assert ended.status == 0, ended.err
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_one_line_with_its_extra(
    tmp_path: Path, run_train: RunTrain, tiny: list[str], name: str
) -> None:
    ended = run_train(*tiny, f"logger={name}", "report=false", HIDDEN_PACKAGE=name)
    assert ended.status == 2
    assert f"pip install -e '.[{name}]'" in ended.err
    assert len(ended.err.splitlines()) == 1
