"""Pictures of every kind: read upright as RGB, or named with a reason; never taken for another."""

import csv
import io
import json
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended, write_pictures
from hymenoptera.data.folders import find_samples
from hymenoptera.data.pictures import read_picture, unreadable_pictures
from hymenoptera.errors import RunError
from hymenoptera.preprocessing import Preprocessing

SIZE = (48, 40)
RAMP = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0])  # (H, W), dark to light
RGB = Image.fromarray(np.stack([RAMP, RAMP, RAMP], axis=2).astype("uint8"))


def saved(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def png_of_header(width: int, height: int) -> bytes:
    """A PNG whose header promises a size; decoding it would take width * height * 3 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown after a quarter turn to the right
    return saved(RGB.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def see_through() -> bytes:
    palette = RGB.quantize(32)
    return saved(palette, transparency=bytes([0, 128] + [255] * 30))


def animated() -> bytes:
    frames = [RGB, RGB.point(lambda value: 255 - value)]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)


SIXTEEN = Image.fromarray((RAMP * 257).astype("uint16"))

READ: dict[str, tuple[str, Callable[[], bytes]]] = {
    "PNG in a .jpg": ("a.jpg", lambda: saved(RGB)),
    "grey": ("a.jpg", lambda: saved(RGB.convert("L"), "JPEG", quality=95)),
    "grey with alpha": ("a.png", lambda: saved(RGB.convert("LA"))),
    "RGBA": ("a.png", lambda: saved(RGB.convert("RGBA"))),
    "palette": ("a.png", lambda: saved(RGB.quantize(256))),
    "palette that is seen through": ("a.png", see_through),
    "CMYK": ("a.jpg", lambda: saved(RGB.convert("CMYK"), "JPEG", quality=95)),
    "black and white": ("a.png", lambda: saved(RGB.convert("1"))),
    "16-bit PNG": ("a.png", lambda: saved(SIXTEEN)),
    "16-bit TIFF": ("a.tif", lambda: saved(SIXTEEN, "TIFF")),
    "turned by EXIF": ("a.jpg", turned),
    "animated": ("a.webp", animated),
    "GIF in a .png": ("a.png", lambda: saved(RGB, "GIF")),
    "progressive JPEG": ("a.jpg", lambda: saved(RGB, "JPEG", progressive=True, quality=95)),
}


@pytest.mark.parametrize("kind", READ)
def test_pictures_that_are_read(
    tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    """As RGB, the right way up, and as light as they are."""
    name, make = READ[kind]
    path = tmp_path / name
    path.write_bytes(make())
    assert unreadable_pictures([path]) == {}
    picture = read_picture(path)
    assert (picture.mode, picture.size) == ("RGB", SIZE)
    values = np.asarray(picture, dtype=float).mean(axis=2)
    tolerance = 12 if "black" not in kind else 140
    assert np.abs(values - RAMP).mean() < tolerance
    assert values[:10].mean() < 80 < 170 < values[-10:].mean()
    assert not recwarn.list


UNREAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("a.jpg", lambda: b"", "identify"),
    "text": ("a.jpg", lambda: b"not a picture\n" * 9, "identify"),
    "truncated JPEG": ("a.jpg", lambda: saved(RGB, "JPEG")[:-60], "truncated"),
    "truncated PNG": ("a.png", lambda: saved(RGB)[:-60], "truncated|broken"),
    "a bomb": (
        "a.png",
        lambda: png_of_header(30_000, 30_000),
        r"more than 89 million|decompression bomb",
    ),
    "half a bomb": ("a.png", lambda: png_of_header(10_000, 10_000), "more than 89 million"),
    "floats": ("a.tif", lambda: saved(Image.fromarray(RAMP.astype("float32")), "TIFF"), "floats"),
    "32-bit": (
        "a.tif",
        lambda: saved(Image.fromarray((RAMP * 1e6).astype("int32")), "TIFF"),
        "more than 16 bit",
    ),
    "PostScript": (
        "a.jpg",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "identify",
    ),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_pictures_that_are_refused(tmp_path: Path, kind: str) -> None:
    name, make, words = UNREAD[kind]
    path = tmp_path / name
    path.write_bytes(make())
    (reason,) = unreadable_pictures([path]).values()
    assert len(reason.splitlines()) == 1
    with pytest.raises(RunError, match=words):
        read_picture(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 4000), (9000, 9000)])
def test_pictures_of_odd_sizes_become_tensors(tmp_path: Path, size: tuple[int, int]) -> None:
    """And do not take the memory that resizing a line of 1 x 5000 px to 232 px would."""
    path = tmp_path / "a.png"
    Image.new("RGB", size, (10, 200, 30)).save(path, compress_level=1)
    how = Preprocessing(256, 224, (0.5,) * 3, (0.5,) * 3, "bilinear")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    picture = read_picture(path)
    for transform in (how.transform(), how.train_transform((0.08, 1.0), 0.5)):
        tensor = transform(picture)
        assert tensor.shape == (3, 224, 224)
        assert tensor[1].min() > 0.5 > tensor[0].max()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    picture_mb = 4 * size[0] * size[1] / 1e6  # Pillow has four bytes a pixel
    assert grown_mb < 150 + 2 * picture_mb  # the picture, and at the most a crop of all of it


def test_links_in_circles_and_what_is_no_file(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"": {"ash": 2}})
    ash = root / "ash"
    (ash / "round.png").symlink_to(ash / "about.png")
    (ash / "about.png").symlink_to(ash / "round.png")
    (ash / "nowhere.png").symlink_to(ash / "gone.png")
    (ash / "linked.png").symlink_to(ash / "000.png")
    (ash / "circle").symlink_to(root)
    os.mkfifo(ash / "pipe.png")
    samples, ignored = find_samples(root, ["ash"])
    assert [s.path.name for s in samples] == [
        *("000.png", "001.png", "about.png", "linked.png", "nowhere.png", "round.png")
    ]
    assert sorted(p.name for p in ignored) == ["circle", "pipe.png"]
    assert {p.name for p in unreadable_pictures([s.path for s in samples])} == {
        *("about.png", "nowhere.png", "round.png")
    }


def spoil(root: Path) -> set[str]:
    """Put one picture of each unreadable kind among good ones; their paths."""
    bad = set()
    for number, (name, make, _) in enumerate(UNREAD.values()):
        path = root / "train" / "ash" / f"bad_{number}{Path(name).suffix}"
        path.write_bytes(make())
        bad.add(path)
    gone = root / "val" / "birch" / "gone.png"
    gone.symlink_to(root / "nothing")
    return {p.relative_to(root).as_posix() for p in (*bad, gone)}


def test_unreadable_pictures_are_skipped_counted_and_listed(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    trees = {"ash": 4, "birch": 4}
    root = write_pictures(tmp_path / "pictures", {"train": trees, "val": trees})
    bad = spoil(root)
    ended = run_train(*tiny, f"data.root={root}", "trainer.max_epochs=1")
    assert ended.status == 2
    assert f"{len(bad)} of the pictures cannot be read" in ended.err
    assert not (tmp_path / "runs").exists()

    one = "trainer.max_epochs=1"
    ended = run_train(*tiny, f"data.root={root}", one, "data.on_error=skip", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert f"{len(bad)} unreadable skipped" in ended.out
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())["data"]
    assert set(facts["skipped_pictures"]) == bad
    assert facts["train_count_by_class"] == trees
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    assert len(rows) == 8


def test_a_picture_removed_between_indexing_and_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hymenoptera.data import indexed
    from hymenoptera.data.datamodule import ImageFolderDataModule
    from hymenoptera.errors import RequestError

    root = write_pictures(tmp_path / "x", {"train": {"ash": 3, "birch": 3}, "val": {"ash": 1}})
    find = indexed.index_folder

    def find_and_lose(*args: object, **options: object) -> object:
        index = find(*args, **options)
        (root / "train" / "ash" / "001.png").unlink(missing_ok=True)
        return index

    monkeypatch.setattr(indexed, "index_folder", find_and_lose)
    with pytest.raises(RequestError, match=r"1 of the pictures cannot be read: .*001\.png"):
        ImageFolderDataModule(root=str(root)).setup()
    (root / "train" / "ash" / "001.png").write_bytes(saved(RGB))
    data = ImageFolderDataModule(root=str(root), on_error="skip")
    data.setup()
    assert data.facts()["train_count_by_class"] == {"ash": 2, "birch": 3}
    assert list(data.facts()["skipped_pictures"]) == ["train/ash/001.png"]
