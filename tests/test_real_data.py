"""The main job on the real images, where the environment names them."""

import csv
import json
import os
from pathlib import Path

import pytest

from conftest import Ended, run

WEIGHTS = "HYMENOPTERA_TEST_WEIGHTS"


@pytest.fixture(scope="module")
def article(tmp_path_factory: pytest.TempPathFactory, real_archive: Path) -> tuple[Ended, Path]:
    """How the article's run ended after two steps, and its folder."""
    folder = tmp_path_factory.mktemp("article")
    overrides = (
        f"data.source={real_archive}",
        f"model.weights={os.environ.get(WEIGHTS, 'none')}",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=2",
        "hydra.run.dir=run",
    )
    return run("train.py", overrides, folder, {}), folder / "run"


@pytest.mark.real_data
def test_the_article_begins_on_the_real_images(article: tuple[Ended, Path]) -> None:
    """The right images, the weights by name, a prediction for each of 153."""
    ended, folder = article
    assert ended.status == 0, ended.err
    assert "244 to train on, 153 to validate, in 2 classes (ants, bees)" in ended.out
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["data"]["train_count"], summary["data"]["val_count"]) == (244, 153)
    weights = os.environ.get(WEIGHTS, "none")
    assert summary["model"]["weights"].split(" ")[0] in (Path(weights).name, "none")
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(rows) == len({row["path"] for row in rows}) == 153


@pytest.mark.real_data
def test_predict_equals_what_the_run_recorded(article: tuple[Ended, Path], tmp_path: Path) -> None:
    _, folder = article
    root = Path(json.loads((folder / "summary.json").read_text())["data"]["root"])
    command = ("predict", str(folder), str(root / "val"), "--format", "csv")
    ended = run("hymenoptera", command, tmp_path, {})
    assert (ended.status, ended.err) == (0, "")
    found = {
        Path(row["path"]).relative_to(root).as_posix(): row
        for row in csv.DictReader(ended.out.splitlines())
    }
    recorded = {row["path"]: row for row in csv.DictReader((folder / "predictions.csv").open())}
    assert found.keys() == recorded.keys()
    for path, row in recorded.items():
        for rank in "12":
            probability = float(found[path][f"probability_{rank}"])
            assert probability == pytest.approx(float(row[found[path][f"class_{rank}"]]), abs=1e-6)


@pytest.mark.real_data
def test_evaluate_equals_what_the_run_recorded(article: tuple[Ended, Path], tmp_path: Path) -> None:
    _, folder = article
    ended = run("hymenoptera", ("evaluate", str(folder), "--json"), tmp_path, {})
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    best = json.loads((folder / "summary.json").read_text())["best"]
    for key in ("accuracy", "correct", "count", "interval"):
        assert found[key] == best[key]
    assert [sum(row) for row in found["confusion"]] == [70, 83]
