"""Folders: which are splits, which are classes, which files are images."""

import os
from pathlib import Path

import pytest
from PIL import Image

from conftest import write_images
from hymenoptera.data import ImageFolderDataModule
from hymenoptera.data.images import IMAGE_SUFFIXES
from hymenoptera.errors import ConfigError

TREES = {"ash": 5, "birch": 3}
FEW = {"ash": 2, "birch": 1}


def set_up(root: Path, **options: object) -> ImageFolderDataModule:
    datamodule = ImageFolderDataModule(root=str(root), num_workers=0, **options)
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("spellings", ["train val test", "TRAIN valid Test", "training dev test"])
def test_three_splits_in_any_usual_spelling(tmp_path: Path, spellings: str) -> None:
    """Faults 18 and 19: the test folder is the held-out test set."""
    train, val, test = spellings.split()
    root = write_images(tmp_path / "x", {train: TREES, val: FEW, test: {"ash": 1, "birch": 4}})
    summary = set_up(root).summary()
    assert summary["classes"] == ["ash", "birch"]
    assert summary["train_count_by_class"] == TREES
    assert summary["val_count_by_class"] == FEW
    assert summary["test_count_by_class"] == {"ash": 1, "birch": 4}
    assert len(summary["test_manifest_hash"]) == 64


def test_a_test_folder_without_validation_is_held_out_too(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": {"ash": 10, "birch": 5}, "test": FEW})
    summary = set_up(root).summary()
    assert summary["val_count_by_class"] == {"ash": 2, "birch": 1}  # a fifth of train/
    assert summary["test_count_by_class"] == FEW


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Fault 18: beside other classes it is one of them."""
    root = write_images(tmp_path / "x", {"": {"car": 4, "train": 4}})
    assert set_up(root).classes == ["car", "train"]
    root = write_images(tmp_path / "y", {"": {"train": 4, "val": 4}})
    with pytest.raises(ConfigError, match="train has no class folders"):
        set_up(root)
    root = write_images(tmp_path / "z", {"train": TREES})
    (root / "docs").mkdir()
    assert set_up(root).classes == ["ash", "birch"]
    with pytest.raises(ConfigError, match="there is no such folder"):
        set_up(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": TREES, "val": FEW, "Validation": FEW}, "Validation/ and val/"),
        ({"val": TREES, "test": FEW}, "test/ and val/, and no train/"),
        ({"train": TREES, "val": {"ahs": 1}}, "has a class that .*train lacks: ahs. Did you mean"),
        ({"train": {"ash": 3, "birch": 0}, "val": FEW}, "train/birch holds no images"),
        ({"train": TREES, "val": {"ash": 0}}, "val holds no images"),
        ({"": {"ash": 4}}, r"one class only \(ash\)"),
        ({"": {}}, "no class folders"),
        ({"": {"ash": 1, "birch": 2}}, "ash has a single image"),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_explained(
    tmp_path: Path, parts: dict[str, dict[str, int]], words: str
) -> None:
    root = tmp_path / "x"
    root.mkdir()
    with pytest.raises(ConfigError, match=words) as raised:
        set_up(write_images(root, parts))
    assert len(str(raised.value).splitlines()) <= 3


def test_what_systems_and_programs_add_is_no_image_and_no_class(tmp_path: Path) -> None:
    """Fault 18: hidden folders and files are left out, and counted."""
    root = write_images(tmp_path / "x", {"train": TREES, "val": FEW})
    plain = set_up(root).summary()
    image = root / "train/ash/000.png"
    for place in ("train/.ipynb_checkpoints", "train/@eaDir", "__MACOSX/train", "val/.git"):
        (root / place).mkdir(parents=True)
        (root / place / "1.png").write_bytes(image.read_bytes())
    for place in ("ash/.ipynb_checkpoints", "birch/@eaDir"):
        (root / "train" / place).mkdir()
        (root / "train" / place / "1.png").write_bytes(image.read_bytes())
    for name in ("._000.png", ".DS_Store", "Thumbs.db"):
        (root / "train/ash" / name).write_bytes(b"junk")
    summary = set_up(root).summary()
    assert summary["manifest_hash"] == plain["manifest_hash"]
    assert plain["ignored"] == {}
    assert summary["ignored"] == {"hidden": 8}


def test_what_is_passed_over_is_counted_by_type(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": TREES, "val": FEW})
    for name in ("a.txt", "b.TXT", "c.heic", "README"):
        (root / "train/ash" / name).write_text("mine")
    (root / "val/birch/clip.mp4").write_text("mine")
    assert set_up(root).ignored == {".heic": 1, ".mp4": 1, ".txt": 2, "no suffix": 1}


def test_training_reads_every_type_that_predict_reads(tmp_path: Path) -> None:
    """Fault 18: one list of types."""
    root = write_images(tmp_path / "x", {"train": FEW, "val": FEW})
    formats = {".jfif": "JPEG", ".jpe": "JPEG", ".gif": "GIF", ".avif": "AVIF", ".JPG": "JPEG"}
    assert {suffix.lower() for suffix in formats} <= IMAGE_SUFFIXES
    for suffix, name in formats.items():
        Image.new("RGB", (20, 20), (9, 99, 199)).save(root / f"train/ash/x{suffix}", format=name)
    datamodule = set_up(root)
    assert (len(datamodule.train), datamodule.ignored) == (3 + len(formats), {})


def test_a_class_that_validation_lacks_is_told(tmp_path: Path) -> None:
    """Fault 19."""
    root = write_images(tmp_path / "x", {"train": TREES, "val": {"ash": 3}})
    assert set_up(root).summary()["classes_missing_in_val"] == ["birch"]


def test_links_are_followed_to_files_and_not_to_folders(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": TREES, "val": FEW})
    (root / "train/ash/again.png").symlink_to(root / "val/ash/000.png")
    (root / "train/ash/circle").symlink_to(root / "train")
    (root / "train/ash/nowhere.png").symlink_to(root / "gone.png")
    with pytest.raises(ConfigError, match=r"nowhere\.png"):
        set_up(root)
    datamodule = set_up(root, on_error="skip")
    assert datamodule.summary()["train_count_by_class"] == {"ash": 6, "birch": 3}
    assert list(datamodule.skipped) == ["train/ash/nowhere.png"]


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": TREES, "val": FEW})
    try:
        (root / "train/ash" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(ConfigError, match="not UTF-8"):
        set_up(root)


def test_unreadable_images_end_a_run_before_it_begins_or_are_skipped(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": TREES, "val": FEW})
    (root / "train/ash/002.png").write_bytes(b"no image")
    (root / "val/ash/000.png").write_bytes((root / "val/ash/001.png").read_bytes()[:300])
    with pytest.raises(ConfigError, match=r"2 of the images cannot be read.*\n.*on_error=skip"):
        set_up(root)
    summary = set_up(root, on_error="skip").summary()
    assert summary["train_count_by_class"] == {"ash": 4, "birch": 3}
    assert summary["skipped"]["train/ash/002.png"] == "it is of no format that is read here"
    assert "truncated" in summary["skipped"]["val/ash/000.png"]
    for path in root.glob("val/*/*"):
        path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match="no image to train or to validate on"):
        set_up(root, on_error="skip")
