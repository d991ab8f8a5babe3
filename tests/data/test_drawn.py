"""The drawn data set: the same for everyone, laid out as promised, and not to be told by colour."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hymenoptera.data import DrawnDataModule
from hymenoptera.data.drawn import draw_data_set

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
    larger = digests(draw_data_set(tmp_path / "larger", seed=0, **{**SMALL, "train": 5}))
    assert first.items() <= larger.items()
    other = digests(draw_data_set(tmp_path / "c", seed=1, **SMALL))
    assert other.keys() == first.keys()
    assert len({*first.values(), *other.values()}) == 2 * len(first), "each image is drawn once"


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


def test_the_data_module_draws_once_and_names_what_it_drew(tmp_path: Path) -> None:
    numbers = {"drawing_seed": 3, "train_per_class": 4, "val_per_class": 2, "size_px": 32}
    module = DrawnDataModule(folder=str(tmp_path), num_workers=0, **numbers)
    module.prepare_data()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    module.prepare_data()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    module.setup()
    assert module.classes == ["ants", "bees"]
    assert (len(module.train), len(module.val), len(module.test)) == (8, 4, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn_3_4_2_32"]


def colours(place: Path) -> list[tuple[Any, Any]]:
    """To train and to validate: mean and deviation of RGB, (N, 6), and the label, (N,)."""
    folder = place / "drawn"
    draw_data_set(folder, seed=0, train=150, val=75, size_px=32)
    splits = []
    for split in ("train", "val"):
        paths = sorted((folder / split).rglob("*.png"))
        pixels = [np.asarray(Image.open(path)).reshape(-1, 3) / 255 for path in paths]
        features = [np.concatenate([image.mean(axis=0), image.std(axis=0)]) for image in pixels]
        labels = np.array([path.parent.name == "bees" for path in paths])
        splits.append((np.stack(features), labels))
    return splits


def test_colour_does_not_tell_the_insects_apart(tmp_path: Path) -> None:
    """Logistic regression on mean and spread of the image's colours stays near chance."""
    (x, y), (x_val, y_val) = colours(tmp_path)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x, x_val = (
        np.column_stack([np.ones(len(part)), (part - mean) / spread]) for part in (x, x_val)
    )
    weights = np.zeros(7)
    for _ in range(20):  # Newton's method, a little ridge against a singular matrix
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x.T * (p * (1 - p))) @ x + 1e-3 * np.eye(7)
        weights -= np.linalg.solve(curvature, x.T @ (p - y) + 1e-3 * weights)
    assert np.abs(x.T @ (p - y)).max() < 1, "it has not converged"
    assert ((x_val @ weights > 0) == y_val).mean() < 0.7
