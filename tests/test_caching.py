"""A run on cached features is the run that it would have been on the pictures."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ended, write_pictures
from hymenoptera.rules import BACKBONES

Run = Callable[..., Ended]


def head(tiny: list[str], *more: str) -> list[str]:
    return ["experiment=head", *tiny, "trainer.max_epochs=3", *more]


def numbers(path: Path) -> list[float]:
    cells = [cell for row in csv.reader(path.open()) for cell in row]
    return [float(cell) for cell in cells if cell[:1].isdigit()]


def features(tmp_path: Path, run: str) -> dict[str, int] | None:
    return json.loads((tmp_path / run / "summary.json").read_text())["features"]


def assert_alike(tmp_path: Path, one: str, other: str) -> None:
    for file, relative in (("predictions.csv", 0), ("metrics.csv", 1e-5)):  # losses may be large
        ours, theirs = numbers(tmp_path / one / file), numbers(tmp_path / other / file)
        assert ours == pytest.approx(theirs, abs=1e-5, rel=relative)
        assert len(ours) > 12


@pytest.mark.parametrize("name", BACKBONES)
def test_cached_equals_uncached(tmp_path: Path, run_train: Run, tiny: list[str], name: str) -> None:
    command, count = head(tiny, f"model={name}"), 36
    if name == "vit_b_16":  # takes large pictures only: few of them, for two epochs
        parts = {part: dict.fromkeys(("ash", "birch", "cedar"), 2) for part in ("train", "val")}
        root = write_pictures(tmp_path / "few", parts)
        command += ["model.image_size=null", f"data.root={root}", "trainer.max_epochs=2"]
        count = 12
    assert run_train(*command, "hydra.run.dir=cached").status == 0
    assert run_train(*command, "hydra.run.dir=plain", "transfer.cache=false").status == 0
    assert features(tmp_path, "cached") == {"computed": count, "kept": 0}
    assert features(tmp_path, "plain") is None
    assert_alike(tmp_path, "cached", "plain")


@pytest.mark.parametrize("mode", ["head", pytest.param("last_stage", marks=pytest.mark.torture)])
def test_cached_views_equal_uncached_ones(
    tmp_path: Path, run_train: Run, tiny: list[str], mode: str
) -> None:
    command = head(tiny, f"transfer={mode}", "transfer.views=2", "optimizer.lr=1e-3")
    assert run_train(*command, "hydra.run.dir=cached").status == 0
    assert run_train(*command, "hydra.run.dir=plain", "transfer.cache=false").status == 0
    assert features(tmp_path, "cached") == {"computed": 12 + 24 + 2 * 24, "kept": 0}
    assert_alike(tmp_path, "cached", "plain")
    again = run_train(*command, "hydra.run.dir=again", "optimizer.lr=1e-2")
    assert "0 computed, 84 from the cache" in again.out
    assert run_train(*command, "hydra.run.dir=other", "seed=1").status == 0
    # untrained weights follow the seed, as the augmentation does
    assert features(tmp_path, "other") == {"computed": 84, "kept": 0}


def test_a_damaged_cache_changes_nothing(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    command = head(tiny)
    assert run_train(*command, "hydra.run.dir=first").status == 0
    (path,) = (tmp_path / "data" / "features").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run_train(*command, "hydra.run.dir=second").status == 0
    assert features(tmp_path, "second") == {"computed": 36, "kept": 0}
    one, other = (tmp_path / name / "metrics.csv" for name in ("first", "second"))
    assert one.read_bytes() == other.read_bytes()


def test_a_head_is_resumed_from_the_cache(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    command = head(tiny, "scheduler=step", "scheduler.step_epochs=2")
    assert run_train(*command, "hydra.run.dir=whole", "trainer.max_epochs=4").status == 0
    assert run_train(*command, "hydra.run.dir=parts", "trainer.max_epochs=2").status == 0
    ended = run_train("resume=parts", "trainer.max_epochs=4")
    assert ended.status == 0, ended.err
    for file in ("metrics.csv", "predictions.csv"):
        one, other = (tmp_path / name / file for name in ("whole", "parts"))
        assert one.read_bytes() == other.read_bytes()
