"""Images: which files names stand for, and reading any of them as upright RGB."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymenoptera.data.images import fault, find_images, open_image, read_image
from hymenoptera.errors import RunError


def test_names_stand_for_files(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a pattern, a file that is not there, and lines on stdin, in their order."""
    monkeypatch.setattr("sys.stdin", io.StringIO("one.png\n\ntwo words.jpg\n"))
    folder = images / "val" / "ash"
    names = [str(folder), str(images / "*" / "cedar" / "00[01].png"), "nowhere.png", "-"]
    assert list(find_images(names)) == [
        *(str(folder / f"00{number}.png") for number in range(4)),
        *(str(images / f"{split}/cedar/00{n}.png") for split in ("train", "val") for n in (0, 1)),
        *("nowhere.png", "one.png", "two words.jpg"),
    ]


def test_a_folder_stands_for_its_images_and_for_those_that_are_not_read(tmp_path: Path) -> None:
    """Fault 28: a .heic gets an answer. Hidden files do not."""
    for name in [
        "b.heic",
        "a.jfif",
        "notes.txt",
        "._c.png",
        "@eaDir/d.png",
        ".x/e.png",
        "f/g.AVIF",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [Path(name).relative_to(tmp_path).as_posix() for name in find_images([str(tmp_path)])]
    assert found == ["a.jfif", "b.heic", "f/g.AVIF"]


def test_an_image_is_read_upright_and_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.new("L", (30, 20), 128).save(path, exif=exif)
    for source in (path, path.read_bytes()):
        image = read_image(source)
        assert (image.mode, image.size) == ("RGB", (20, 30))


@pytest.mark.parametrize("name", ["little.tif", "grey.png"])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path, name: str) -> None:
    eight = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(eight.astype("<u2") * 257).save(tmp_path / name)
    assert np.array_equal(np.asarray(read_image(tmp_path / name)), np.stack([eight] * 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    Image.new("RGB", (9, 7), (200, 100, 50)).convert(mode).save(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").mode == "RGB"


def test_why_a_file_cannot_be_read_is_one_line_without_its_path(
    tmp_path: Path, images: Path
) -> None:
    good = (images / "val/ash/000.png").read_bytes()
    contents = {"half.png": good[:300], "text.png": b"no image", "empty.png": b""}
    contents["script.png"] = b"%!PS-Adobe-3.0 EPSF-3.0"  # Pillow would hand it to another program
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert "truncated" in str(fault(tmp_path / "half.png"))
    for source in (tmp_path / "text.png", tmp_path / "empty.png", tmp_path / "script.png", b""):
        assert fault(source) == "it is of no format that is read here"
    assert fault(tmp_path / "nowhere.png") == "No such file or directory"
    assert fault(images / "val/ash/000.png") is None
    with pytest.raises(RunError, match=r"text\.png cannot be read"):
        read_image(tmp_path / "text.png")


def test_memory_that_ran_out_is_no_fault_of_the_image(images: Path) -> None:
    with pytest.raises(MemoryError), open_image(images / "val/ash/000.png"):
        raise MemoryError
