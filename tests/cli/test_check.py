"""`hymenoptera check`: what was planted in a data set is found, and little else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from conftest import Ended
from hymenoptera.cli.checking import check_data_set
from hymenoptera.cli.label_errors import MARGIN, suspected_label_errors
from hymenoptera.cli.near_duplicates import hashes_of, near_duplicates
from hymenoptera.models.backbones import build_backbone

Check = Callable[..., Ended]

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda p: p.resize((p.width * 2 // 3, p.height * 2 // 3)),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "mirrored": ImageOps.mirror,
    "cropped": lambda p: ImageOps.crop(p, border=1),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of blurred noise, 12 to train on and 3 to validate; no two look the same."""
    root = tmp_path_factory.mktemp("scenes") / "set"
    generator = np.random.default_rng(0)
    for split, count in {"train": 12, "val": 3}.items():
        for label, name in enumerate(("ants", "bees")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = generator.integers(0, 256, (9, 12, 3))
                noise[..., label] //= 4
                image = Image.fromarray(noise.astype(np.uint8)).resize((96, 72))
                image = image.filter(ImageFilter.GaussianBlur(2))
                image.save(root / split / name / f"{number:02d}.png")
    return root


def test_what_is_planted_is_found(tmp_path: Path, scenes: Path, hymenoptera: Check) -> None:
    root = tmp_path / "planted"
    shutil.copytree(scenes, root)
    ants, bees = root / "train" / "ants", root / "train" / "bees"
    shutil.copy(ants / "00.png", root / "val" / "bees" / "leak.png")
    Image.open(ants / "01.png").save(root / "val" / "ants" / "near.jpg", quality=60)
    shutil.copy(ants / "02.png", ants / "again.png")
    (bees / "torn.png").write_bytes((ants / "00.png").read_bytes()[:500])
    (bees / "notes.txt").write_text("mine")
    (root / "read me.md").write_text("mine")
    (root / "train" / "moths").mkdir()
    shutil.copy(bees / "00.png", root / "train" / "moths" / "moth.jpg")
    (ants / ".ipynb_checkpoints").mkdir()
    shutil.copy(bees / "00.png", ants / ".ipynb_checkpoints" / "x.png")
    command = ("check", str(root), "--weights", "none")
    ended = hymenoptera(*command, "--json", "--page", str(tmp_path / "page.html"))
    assert ended.status == 1, ended.err
    result = json.loads(ended.out)
    assert result["counts"]["train"] == {"ants": 13, "bees": 13, "moths": 1}
    assert result["counts"]["val"] == {"ants": 4, "bees": 4, "moths": 0}
    assert result["missing_classes"] == [{"split": "val", "class": "moths"}]
    assert [item["path"] for item in result["unreadable"]] == ["train/bees/torn.png"]
    assert result["stray"] == ["read me.md", "train/bees/notes.txt"]
    assert result["hidden"] == 1
    assert sorted(item["paths"] for item in result["exact_duplicates"]) == [
        ["train/ants/00.png", "val/bees/leak.png"],
        ["train/ants/02.png", "train/ants/again.png"],
        ["train/bees/00.png", "train/moths/moth.jpg"],
    ]
    (leak,) = [item for item in result["exact_duplicates"] if item["across"]]
    assert leak["labels_differ"]
    (near,) = result["near_duplicates"]
    assert near["paths"] == ["train/ants/01.png", "val/ants/near.jpg"] and near["across"]
    assert 0.8 < near["similarity"] <= 1
    assert result["misnamed"] == ["train/moths/moth.jpg"]
    assert result["modes"]["RGB"] == result["images"] - 1
    assert result["sizes"] == {"shorter": [72, 72, 72], "longer": [96, 96, 96]}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 8
    assert "val/bees/leak.png" in page
    text = hymenoptera(*command)
    assert text.status == 1
    assert "This spoils a result" in text.out
    assert "train/ants/00.png = val/bees/leak.png (across splits, labels differ)" in text.out


def test_a_clean_data_set_is_said_to_be(scenes: Path, hymenoptera: Check) -> None:
    ended = hymenoptera("check", str(scenes), "--weights", "none")
    assert ended.status == 0, ended.out + ended.err
    assert "Nothing that spoils a result." in ended.out
    assert ended.err == ""


def test_labels_are_checked_with_the_weights_that_are_here(
    tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mislabelled"
    shutil.copytree(scenes, root)
    wrong = root / "train/ants/05.png"
    wrong.rename(root / "train/bees/wrong.png")
    torch.manual_seed(0)
    torch.save(build_backbone("resnet18").network.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert check_data_set(root)["suspected_labels"] is None
    monkeypatch.setenv("HYMENOPTERA_WEIGHTS", str(tmp_path / "weights.pth"))
    result = check_data_set(root)
    assert result["label_check"].startswith("resnet18, weights weights.pth sha256:")
    suspects = {item["path"]: item for item in result["suspected_labels"]}
    assert suspects["train/bees/wrong.png"]["suggested"] == "ants"
    assert len(suspects) <= 5
    assert list(tmp_path.glob("**/*.safetensors")) == []


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_image_matches_itself_and_no_other(scenes: Path, name: str) -> None:
    originals = [Image.open(path) for path in sorted(scenes.rglob("*.png"))]
    pairs = list(
        near_duplicates([hashes_of(i) for i in [*originals, *map(CHANGES[name], originals)]])
    )
    wanted = {(n, n + len(originals)) for n in range(len(originals))}
    found = {(first, second) for first, second, _ in pairs}
    assert len(found & wanted) >= 0.9 * len(wanted)
    assert found <= wanted
    assert all(0.8 < similarity <= 1 for _, _, similarity in pairs)


def test_an_image_without_contrast_matches_nothing() -> None:
    plain = hashes_of(Image.new("RGB", (50, 40), "white"))
    assert list(near_duplicates([plain, plain])) == list(near_duplicates([])) == []


def test_wrong_labels_are_suspected_and_right_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [90, 60, 30])
    features = generator.normal(size=(180, 20)) + 5 * np.eye(20)[labels]
    wrong = generator.choice(180, 12, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1 + generator.integers(0, 2, 12)) % 3
    suspects = suspected_label_errors(features, given)
    found = [(position, suggested) for position, suggested, _ in suspects if position in wrong]
    assert len(found) >= 11
    assert len(suspects) - len(found) <= 4
    assert all(suggested == labels[position] for position, suggested in found)
    scores = [score for *_, score in suspects]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0.5 + MARGIN / 2 and scores[0] <= 1
