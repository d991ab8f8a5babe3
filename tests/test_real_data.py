"""The main job on the real pictures, where the environment names them."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended

WEIGHTS = "HYMENOPTERA_TEST_WEIGHTS"


@pytest.mark.real_data
def test_the_article_begins_on_the_real_pictures(
    tmp_path: Path, run_train: Callable[..., Ended], real_archive: Path
) -> None:
    """Two steps of it: the right pictures, the weights by name, a prediction for each of 153."""
    weights = os.environ.get(WEIGHTS, "none")
    ended = run_train(
        f"data.source={real_archive}",
        f"model.weights={weights}",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=2",
        "+trainer.limit_val_batches=1",
        "hydra.run.dir=run",
    )
    assert ended.status == 0, ended.err
    assert "244 to train on, 153 to validate, in 2 classes (ants, bees)" in ended.out
    assert "1 of another type ignored" in ended.out  # the archive's GIF
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"]["train_count_by_class"] == {"ants": 123, "bees": 121}
    assert summary["data"]["val_count_by_class"] == {"ants": 70, "bees": 83}
    assert summary["data"]["ignored_files"] == ["train/ants/imageNotFound.gif"]
    assert summary["model"]["weights"].split(" ")[0] in (Path(weights).name, "none")
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    assert len(rows) == len({row["path"] for row in rows}) == 153
