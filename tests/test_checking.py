"""`hymenoptera check`: what was planted in a data set is found, and little else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from conftest import Ended
from hymenoptera.checking import check_data_set
from hymenoptera.data.drawn import draw_data_set
from hymenoptera.data.likeness import alike, small_grey
from hymenoptera.results.doubts import doubtful, out_of_fold

Check = Callable[..., Ended]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ants and bees that the project draws: 30 to train on and 10 to validate, of each."""
    root = tmp_path_factory.mktemp("scenes") / "drawn"
    return draw_data_set(root, seed=1, train_per_class=30, val_per_class=10, size_px=96)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda p: p.resize((p.width * 2 // 3, p.height * 2 // 3)),
    "larger": lambda p: p.resize((p.width * 2, p.height * 2)),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "less contrast": lambda p: ImageEnhance.Contrast(p).enhance(0.7),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped": lambda p: p.crop(
        (p.width // 40, p.height // 40, p.width * 39 // 40, p.height * 39 // 40)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_picture_is_like_itself_and_no_other(scenes: Path, name: str) -> None:
    paths = sorted((scenes / "train").rglob("*.png"))[::2]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    greys = [small_grey(p) for p in pictures] + [small_grey(CHANGES[name](p)) for p in pictures]
    found = {(pair.first, pair.second) for pair in alike(np.array(greys))}
    wanted = {(n, n + len(pictures)) for n in range(len(pictures))}
    assert len(found & wanted) >= 0.9 * len(wanted)
    assert len(found - wanted) <= 0.1 * len(wanted)


def test_what_is_planted_is_found(tmp_path: Path, scenes: Path, hymenoptera: Check) -> None:
    root = tmp_path / "planted"
    shutil.copytree(scenes, root)
    ants, bees = root / "train" / "ants", root / "train" / "bees"
    first, second, third = sorted(ants.glob("*.png"))[:3]
    shutil.copy(first, root / "val" / "bees" / "leak.png")
    Image.open(second).convert("RGB").save(root / "val" / "ants" / "near.jpg", quality=60)
    shutil.copy(third, ants / "again.png")
    (bees / "torn.png").write_bytes(first.read_bytes()[:500])
    (bees / "notes.txt").write_text("mine")
    (root / "read me.md").write_text("mine")
    (root / "train" / "moths").mkdir()
    shutil.copy(sorted(bees.glob("*.png"))[0], root / "train" / "moths" / "moth.jpg")
    ended = hymenoptera(
        "check", str(root), "--json", "--page", str(tmp_path / "page.html"), "--weights", "none"
    )
    assert ended.status == 1, ended.err
    found = json.loads(ended.out)
    assert found["counts"]["train"] == {"ants": 31, "bees": 31, "moths": 1}
    assert found["counts"]["val"] == {"ants": 11, "bees": 11, "moths": 0}
    assert found["missing_classes"] == [{"part": "val", "class": "moths"}]
    assert [item["path"] for item in found["unreadable"]] == ["train/bees/torn.png"]
    assert found["stray"] == ["boxes.csv", "read me.md", "train/bees/notes.txt"]
    name = first.relative_to(root).as_posix()
    assert {
        "paths": [name, "val/bees/leak.png"],
        "across": True,
        "labels_differ": True,
    } in found["exact_duplicates"]
    assert len(found["exact_duplicates"]) == 3
    assert [second.relative_to(root).as_posix(), "val/ants/near.jpg"] in [
        item["paths"] for item in found["near_duplicates"]
    ]
    assert found["misnamed"] == ["train/moths/moth.jpg"]
    assert found["modes"]["RGB"] == found["pictures"] - 1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 8
    assert "val/bees/leak.png" in page
    text = hymenoptera("check", str(root), "--weights", "none")
    assert text.status == 1
    assert "This spoils a result" in text.out
    assert f"{name} = val/bees/leak.png (across parts, labels differ)" in text.out


def test_a_clean_data_set_is_said_to_be(scenes: Path, hymenoptera: Check) -> None:
    ended = hymenoptera("check", str(scenes), "--weights", "none")
    assert ended.status == 0, ended.out + ended.err
    assert "Nothing that spoils a result." in ended.out
    assert ended.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such folder"),
        (["empty"], "no pictures in class folders"),
        (["empty", "--model", "resnet19"], "resnet18"),
        (["empty", "--weights", "gone.pth"], "no such file"),
        (["empty", "--page", "no/where.html"], "no folder no"),
    ],
)
def test_a_bad_request_is_refused(
    tmp_path: Path, hymenoptera: Check, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    ended = hymenoptera("check", *arguments)
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) <= 3


def test_wrong_labels_are_doubted_and_right_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 60)
    features = generator.normal(size=(180, 20)) + 4 * np.eye(20)[labels]
    wrong = generator.choice(180, 12, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1 + generator.integers(0, 2, 12)) % 3
    shares = out_of_fold(features, given.tolist(), (np.arange(180) % 5).tolist(), 3)
    assert shares.sum(axis=1) == pytest.approx(np.ones(180))
    found = doubtful(shares, given.tolist())
    right = [doubt for doubt in found if doubt.position in wrong]
    assert len(right) >= 10
    assert len(found) - len(right) <= 3
    assert all(doubt.suggested == labels[doubt.position] for doubt in right)
    assert [doubt.of_given for doubt in found] == sorted(doubt.of_given for doubt in found)


def test_labels_are_doubted_with_weights_at_hand(
    tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from hymenoptera.models.backbone import build_backbone

    monkeypatch.chdir(tmp_path)
    state = build_backbone("resnet18").features.state_dict()
    torch.save(state, "weights.pth")
    found = check_data_set(scenes, "weights.pth")
    assert found["doubted_with"].startswith("resnet18, weights weights.pth sha256:")
    assert isinstance(found["doubtful_labels"], list)
    assert len(list((tmp_path / "data" / "features").iterdir())) == 1
    assert check_data_set(scenes, "auto")["doubtful_labels"] is None
    monkeypatch.setenv("HYMENOPTERA_WEIGHTS", "weights.pth")
    assert check_data_set(scenes, "auto")["doubtful_labels"] == found["doubtful_labels"]


def unpacked(archive: Path, folder: Path) -> Path:
    shutil.unpack_archive(archive, folder)
    return folder / "hymenoptera_data"


@pytest.mark.real_data
def test_the_real_data_have_one_stray_file_and_no_leak(tmp_path: Path, real_archive: Path) -> None:
    found = check_data_set(unpacked(real_archive, tmp_path), "none")
    assert found["stray"] == ["train/ants/imageNotFound.gif"]
    assert found["counts"] == {
        "train": {"ants": 123, "bees": 121},
        "val": {"ants": 70, "bees": 83},
    }
    assert found["exact_duplicates"] == found["near_duplicates"] == found["unreadable"] == []
    assert found["spoils"] == []
