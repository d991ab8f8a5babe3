"""The main job on the real images, where the environment names them."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import LEAN, Ended

WEIGHTS = "HYMENOPTERA_TEST_WEIGHTS"


@pytest.mark.real_data
def test_the_article_begins_on_the_real_images(
    tmp_path: Path,
    run_train: Callable[..., Ended],
    hymenoptera: Callable[..., Ended],
    real_archive: Path,
) -> None:
    """The right images, the weights by name, a prediction for each of 153; all of it again."""
    weights = os.environ.get(WEIGHTS, "none")
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "model.image_size=64", *LEAN)
    short += ("callbacks.calibration.enabled=false",)
    options = (f"data.source={real_archive}", f"model.weights={weights}", "hydra.run.dir=run")
    ended = run_train(*options, *short)
    assert ended.status == 0, ended.err
    assert "244 to train on, 153 to validate, in 2 classes (ants, bees)" in ended.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["data"]["train_count"], summary["data"]["val_count"]) == (244, 153)
    assert summary["model"]["weights"].split(" ")[0] in (Path(weights).name, "none")
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    assert len(rows) == len({row["path"] for row in rows}) == 153
    ended = hymenoptera("evaluate", "run", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    for key in ("accuracy", "correct", "count", "interval"):
        assert found[key] == summary["best"][key]
    assert [sum(row) for row in found["confusion"]] == [70, 83]
