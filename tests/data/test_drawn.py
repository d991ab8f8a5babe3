"""The drawn data set: the same for everyone, laid out as promised, and not to be told by colour."""

import csv
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymenoptera.data.drawn import draw_data_set, draw_insect

SMALL = {"train_per_class": 3, "val_per_class": 2, "size_px": 48}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_arguments_make_the_same_bytes(tmp_path: Path) -> None:
    first = digests(draw_data_set(tmp_path / "a", seed=0, **SMALL))
    second = digests(draw_data_set(tmp_path / "b", seed=0, **SMALL))
    assert first == second


def test_every_picture_differs_from_every_other_and_from_another_seed(tmp_path: Path) -> None:
    first = digests(draw_data_set(tmp_path / "a", seed=0, **SMALL))
    second = digests(draw_data_set(tmp_path / "b", seed=1, **SMALL))
    assert first.keys() == second.keys()
    assert len({*first.values(), *second.values()}) == len(first) + len(second)


def test_more_pictures_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    few = digests(draw_data_set(tmp_path / "few", seed=0, **SMALL))
    many = digests(draw_data_set(tmp_path / "many", seed=0, **{**SMALL, "train_per_class": 5}))
    del few["boxes.csv"]
    assert few.items() <= many.items()


def test_layout(tmp_path: Path) -> None:
    folder = draw_data_set(tmp_path / "drawn", seed=0, **SMALL)
    pictures = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert pictures == {
        f"{split}/{name}/{index:04}.png"
        for split, count in (("train", 3), ("val", 2))
        for name in ("ants", "bees")
        for index in range(count)
    }
    for path in pictures:
        with Image.open(folder / path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (48, 48))
    with (folder / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == pictures
    for row in rows:
        assert 0 <= int(row["left"]) < int(row["right"]) <= 48
        assert 0 <= int(row["top"]) < int(row["bottom"]) <= 48


def test_a_finished_data_set_is_left_alone(tmp_path: Path) -> None:
    folder = draw_data_set(tmp_path / "drawn", seed=0, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    draw_data_set(folder, seed=0, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_calls_at_once_make_one_whole_data_set(tmp_path: Path) -> None:
    expected = digests(draw_data_set(tmp_path / "alone", seed=0, **SMALL))
    folder = tmp_path / "together" / "drawn"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(draw_data_set, folder, seed=0, **SMALL) for _ in range(2)]
        assert [call.result() for call in calls] == [folder, folder]
    assert digests(folder) == expected
    assert {path.name for path in folder.parent.iterdir()} <= {"drawn", ".drawn.lock"}


@pytest.mark.parametrize("kind", ["ant", "bee"])
def test_the_box_holds_the_insect(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scenes without their insects differ inside the boxes, and hardly outside."""
    drawn = [draw_insect(kind, np.random.default_rng(seed), 64) for seed in range(20)]
    paint = "hymenoptera.data.drawn.draw_shapes"
    monkeypatch.setattr(paint, lambda draw, shapes, as_mask=False: as_mask and fill(draw))

    def fill(draw) -> None:  # an empty mask would have no box
        draw.point((0, 0), 255)

    for seed, (picture, (left, top, right, bottom)) in enumerate(drawn):
        empty, _ = draw_insect(kind, np.random.default_rng(seed), 64)
        change = np.abs(np.asarray(picture, float) - np.asarray(empty, float)).max(axis=2) > 60
        assert change.sum() > 100  # the insect is there, and large enough to see
        inside = change[top:bottom, left:right]
        # What is left outside is the shadow, which falls to the right and below.
        assert inside.sum() > 0.9 * change.sum()
        assert (right - left) * (bottom - top) / 64**2 > 0.15


def test_ants_and_bees_differ_from_the_same_chance() -> None:
    for seed in range(5):
        ant, _ = draw_insect("ant", np.random.default_rng(seed), 48)
        bee, _ = draw_insect("bee", np.random.default_rng(seed), 48)
        assert np.abs(np.asarray(ant, float) - np.asarray(bee, float)).mean() > 5


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each split: mean and standard deviation of RGB, (N, 6), and the label, (N,)."""
    folder = tmp_path_factory.mktemp("colours") / "drawn"
    draw_data_set(folder, seed=0, train_per_class=200, val_per_class=100, size_px=32)
    splits = {}
    for split in ("train", "val"):
        paths = sorted((folder / split).rglob("*.png"))
        pixels = [np.asarray(Image.open(path)).reshape(-1, 3) / 255 for path in paths]
        features = [np.concatenate([image.mean(axis=0), image.std(axis=0)]) for image in pixels]
        splits[split] = np.stack(features), np.array([path.parent.name == "bees" for path in paths])
    return splits


@pytest.mark.parametrize("count", [3, 6], ids=["mean", "mean and spread"])
def test_colour_does_not_give_the_insect_away(colours, count: int) -> None:
    """Logistic regression on the picture's colours stays near chance."""
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
    assert np.abs(x.T @ (p - y)).max() < 1  # it has converged, so it is as good as it gets
    assert ((x_val @ weights > 0) == y_val).mean() < 0.7
