"""The drawn data set: the same for everyone, laid out as promised, and not to be told by colour."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hymenoptera.data import DrawnDataModule
from hymenoptera.data.drawn import draw_data_set, draw_scene

SMALL = {"train": 3, "val": 2, "size_px": 48}


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_arguments_make_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = digests(draw_data_set(tmp_path / "a", seed=0, **SMALL))
    assert digests(draw_data_set(tmp_path / "b", seed=0, **SMALL)) == first
    other = digests(draw_data_set(tmp_path / "c", seed=1, **SMALL))
    assert other.keys() == first.keys()
    assert len({*first.values(), *other.values()}) == 2 * len(first), "each image is drawn once"


def test_a_larger_data_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    few = digests(draw_data_set(tmp_path / "few", seed=0, **SMALL))
    many = digests(draw_data_set(tmp_path / "many", seed=0, **{**SMALL, "train": 5}))
    assert few.items() <= many.items()


def test_layout(tmp_path: Path) -> None:
    folder = draw_data_set(tmp_path / "drawn", seed=0, **SMALL)
    assert set(digests(folder)) == {
        f"{split}/{name}/{index:04}.png"
        for split, count in (("train", 3), ("val", 2))
        for name in ("ants", "bees")
        for index in range(count)
    }
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (48, 48))


def test_a_data_set_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    folder = draw_data_set(tmp_path / "drawn", seed=0, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    draw_data_set(folder, seed=0, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_calls_at_once_make_one_whole_data_set(tmp_path: Path) -> None:
    expected = digests(draw_data_set(tmp_path / "single", seed=0, **SMALL))
    folder = tmp_path / "together" / "drawn"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(draw_data_set, folder, seed=0, **SMALL) for _ in range(2)]
        assert [call.result() for call in calls] == [folder, folder]
    assert digests(folder) == expected
    assert {path.name for path in folder.parent.iterdir()} == {"drawn"}


@pytest.mark.parametrize("kind", ["ant", "bee"])
def test_the_mask_is_where_the_insect_is(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scenes without their insects differ inside the masks, and hardly outside."""
    scenes = [draw_scene(kind, np.random.default_rng(seed), 64) for seed in range(20)]
    insect = "hymenoptera.data.drawn._insect"

    def nothing(kind: Any, rng: np.random.Generator, behind: float) -> list[Any]:
        states.append(rng.bit_generator.state)
        return []

    for seed, (image, mask) in enumerate(scenes):
        states: list[Any] = []
        shown = np.asarray(image, float)
        with monkeypatch.context() as patch:
            patch.setattr(insect, nothing)
            empty, _ = draw_scene(kind, np.random.default_rng(seed), 64)
        inside = np.asarray(mask) > 128
        # the light and the noise of the empty scene are others: compare with its surroundings
        off = np.abs(shown - np.asarray(empty, float)).max(axis=2)
        assert states
        assert 0.03 < inside.mean() < 0.3
        assert off[inside].mean() > 1.5 * off[~inside].mean()


def test_a_smaller_insect_may_be_anywhere() -> None:
    masks = [
        np.asarray(draw_scene("bee", np.random.default_rng(seed), 64, scale=0.4)[1]) > 128
        for seed in range(30)
    ]
    assert 0.005 < np.mean([mask.mean() for mask in masks]) < 0.05
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in masks])
    assert centres.min() < 20
    assert centres.max() > 44


def test_the_data_module_draws_once_and_names_what_it_drew(tmp_path: Path) -> None:
    numbers = {"drawing_seed": 3, "train_per_class": 4, "val_per_class": 2, "size_px": 32}
    module = DrawnDataModule(folder=str(tmp_path), num_workers=0, **numbers)
    module.prepare_data()
    module.setup()
    assert module.classes == ["ants", "bees"]
    assert (len(module.train), len(module.val), len(module.test)) == (8, 4, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn_3_4_2_32"]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """For each split: mean and standard deviation of RGB, (N, 6), and the label, (N,)."""
    folder = tmp_path_factory.mktemp("colours") / "drawn"
    draw_data_set(folder, seed=0, train=300, val=200, size_px=32)
    splits = {}
    for split in ("train", "val"):
        paths = sorted((folder / split).rglob("*.png"))
        pixels = [np.asarray(Image.open(path)).reshape(-1, 3) / 255 for path in paths]
        features = [np.concatenate([image.mean(axis=0), image.std(axis=0)]) for image in pixels]
        splits[split] = np.stack(features), np.array([path.parent.name == "bees" for path in paths])
    return splits


@pytest.mark.parametrize("count", [3, 6], ids=["mean", "mean and spread"])
def test_colour_does_not_tell_the_insects_apart(
    colours: dict[str, tuple[Any, Any]], count: int
) -> None:
    """Logistic regression on the image's colours stays near chance."""
    (x, y), (x_val, y_val) = colours["train"], colours["val"]
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x, x_val = (
        np.column_stack([np.ones(len(features)), (features - mean) / spread])[:, : count + 1]
        for features in (x, x_val)
    )
    weights = np.zeros(count + 1)
    for _ in range(20):  # Newton's method, a little ridge against a singular matrix
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x.T * (p * (1 - p))) @ x + 1e-3 * np.eye(count + 1)
        weights -= np.linalg.solve(curvature, x.T @ (p - y) + 1e-3 * weights)
    assert np.abs(x.T @ (p - y)).max() < 1, "it has not converged"
    assert ((x_val @ weights > 0) == y_val).mean() < 0.7
