"""Pictures: which files names stand for, and reading any of them as upright RGB."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymenoptera.data.pictures import find_pictures, unreadable_pictures, upright_rgb


def test_names_stand_for_files(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a pattern, a file that is not there, and lines on stdin, in their order."""
    monkeypatch.setattr("sys.stdin", io.StringIO("one.png\n\ntwo words.jpg\n"))
    folder = pictures / "val" / "ash"
    names = [str(folder), str(pictures / "*" / "cedar" / "00[01].png"), "nowhere.png", "-"]
    assert list(find_pictures(names)) == [
        *(str(folder / f"00{number}.png") for number in range(4)),
        *(str(pictures / f"{part}/cedar/00{n}.png") for part in ("train", "val") for n in (0, 1)),
        *("nowhere.png", "one.png", "two words.jpg"),
    ]


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    eight = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    for name, kind in (("little.tif", "<u2"), ("grey.png", "<u2")):
        Image.fromarray(eight.astype(kind) * 257).save(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.mode.startswith("I;16")
            rgb = np.asarray(upright_rgb(picture))
        assert np.array_equal(rgb, np.stack([eight] * 3, axis=2))


def test_why_a_file_cannot_be_read_is_one_line_without_its_path(
    tmp_path: Path, pictures: Path
) -> None:
    good = (pictures / "val/ash/000.png").read_bytes()
    contents = {"half.png": good[:300], "text.png": b"no picture", "empty.png": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = unreadable_pictures([tmp_path / name for name in [*contents, "nowhere.png"]])
    reasons = {path.name: reason for path, reason in found.items()}
    assert "truncated" in reasons["half.png"]
    assert reasons["text.png"] == reasons["empty.png"] == "it is of no format that Pillow reads"
    assert reasons["nowhere.png"] == "No such file or directory"
