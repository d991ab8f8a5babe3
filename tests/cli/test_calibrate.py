"""`hymenoptera calibrate`, `suggest` and what `predict` says with a calibrated checkpoint."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import Ended
from hymenoptera.models import Predictor

Command = Callable[..., Ended]


@pytest.fixture
def older(best: Path, tmp_path: Path) -> Path:
    """The checkpoint as it was before it was calibrated."""
    content = torch.load(best, weights_only=True)
    del content["hymenoptera"]["calibration"]
    torch.save(content, tmp_path / "older.ckpt")
    return tmp_path / "older.ckpt"


def test_an_older_checkpoint_is_calibrated_as_a_run_does_it(
    hymenoptera: Command, older: Path, best: Path, images: Path
) -> None:
    image = str(images / "val/ash/001.png")
    ended = hymenoptera("predict", str(older), image, "--coverage", "0.8")
    assert ended.status == 2 and f"`hymenoptera calibrate {older}`" in ended.err
    before = hymenoptera("evaluate", str(older), "--json").out
    assert hymenoptera("calibrate", str(older)).status == 0
    assert hymenoptera("evaluate", str(older), "--json").out == before
    one, other = (Predictor(path, "cpu").calibration for path in (older, best))
    assert one.temperature == pytest.approx(other.temperature, rel=1e-4)
    assert torch.allclose(one.scores, other.scores, atol=1e-5)
    assert one.familiarity.names == other.familiarity.names
    ended = hymenoptera("calibrate", str(older), "--unfamiliar-share", "0.5")
    assert ended.status == 0 and "by 24 training images" in ended.out
    assert Predictor(older, "cpu").calibration.familiarity.share == 0.5


@pytest.fixture
def strict(best: Path, tmp_path: Path, hymenoptera: Command) -> Path:
    """The checkpoint with a share that 12 validation images can tell."""
    shutil.copy(best, tmp_path / "strict.ckpt")
    command = ("calibrate", str(tmp_path / "strict.ckpt"), "--unfamiliar-share", "0.1")
    assert hymenoptera(*command).status == 0
    return tmp_path / "strict.ckpt"


def test_a_run_has_it_in_its_record(finished_run: Path, best: Path) -> None:
    recorded = json.loads((finished_run / "summary.json").read_text())["calibration"]
    assert recorded["temperature"] == Predictor(best, "cpu").calibration.temperature
    assert "Calibrated, as" in (finished_run / "report.html").read_text()


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ("0.95", "the 12 images that this checkpoint was validated on allow up to 0.923."),
        ("1", "above 0 and below 1"),
        ("-0.1", "above 0 and below 1"),
        ("much", "--coverage"),
    ],
)
def test_a_coverage_that_cannot_be_had(
    hymenoptera: Command, best: Path, images: Path, coverage: str, words: str
) -> None:
    ended = hymenoptera("predict", str(best), str(images), "--coverage", coverage)
    assert ended.status == 2 and words in ended.err and len(ended.err.splitlines()) == 1


def test_rows_say_how_sure_and_how_familiar(
    hymenoptera: Command, strict: Path, images: Path, tmp_path: Path
) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "noise.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    paths = [str(images / "val/ash/001.png"), "noise.png", "torn.png"]
    command = ("predict", str(strict), *paths, "--coverage", "0.9")
    rows = [
        json.loads(line) for line in hymenoptera(*command, "--format", "jsonl").out.splitlines()
    ]
    cells = list(csv.DictReader(io.StringIO(hymenoptera(*command, "--format", "csv").out)))
    table = hymenoptera(*command, "--gallery", "page.html").out.splitlines()
    least = Predictor(strict, "cpu").calibration.least_probability(0.9)
    assert "familiar" in table[0] and "answer" in table[0]
    for row, cell in zip(rows[:2], cells, strict=False):
        kept = [one["class"] for one in row["predictions"] if one["probability"] >= least]
        assert row["set"][: len(kept)] == kept and row["unsure"] == (len(row["set"]) != 1)
        assert cell["set"] == ";".join(row["set"])
        assert cell["familiar"] == json.dumps(row["familiar"])
        assert len(row["nearest"]) == 3 and row["nearest"][0]["name"].startswith("train/")
    assert not rows[1]["familiar"] and rows[1]["familiarity"] == pytest.approx(1 / 13, abs=1e-4)
    assert rows[2].keys() == {"path", "error"} and cells[2]["familiar"] == ""
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 2 + 2 * 3 and page.count("unlike the training images") == 1


def test_what_to_label_first(
    hymenoptera: Command, strict: Path, images: Path, tmp_path: Path
) -> None:
    """The least sure first; a copy and noise are no suggestions."""
    pool = tmp_path / "pool"
    shutil.copytree(images / "test", pool)
    shutil.copy(pool / "ash/000.png", pool / "ash/copy.png")
    Image.effect_noise((64, 64), 90).convert("RGB").save(pool / "noise.png")
    (pool / "torn.png").write_bytes(b"torn")
    options = ("--output", "rows.csv", "--gallery", "page.html", "--json")
    ended = hymenoptera("suggest", str(strict), str(pool), "--count", "3", *options)
    assert ended.status == 0, ended.err
    rows = json.loads(ended.out)
    by = {what: [r for r in rows if r["what"].startswith(what)] for what in ("label first", "un")}
    margins = [row["margin"] for row in by["label first"]]
    assert len(margins) == 3 and margins == sorted(margins)
    predictions = {p.path: p for p in Predictor(strict, "cpu").predict(sorted(pool.rglob("*.png")))}
    for path, one in predictions.items():
        first, second, *_ = [*one.probabilities.values(), 0, 0]
        if one.error is None and one.is_familiar and path not in {r["path"] for r in rows}:
            assert first - second >= margins[-1]
    assert {Path(row["path"]).name for row in by["un"]} >= {"noise.png", "torn.png"}
    (twin,) = [row for row in rows if row["what"].startswith("near-duplicate of")]
    assert Path(twin["path"]).name == "copy.png"
    assert len(list(csv.DictReader((tmp_path / "rows.csv").open()))) == len(rows)
    assert "What to label first" in (tmp_path / "page.html").read_text()
    table = hymenoptera("suggest", str(strict), str(pool), "--count", "3")
    assert table.out.count("label first") == 3 and "unreadable: it is of" in table.out
    (tmp_path / "empty").mkdir()
    assert hymenoptera("suggest", str(strict), "empty").status == 2
