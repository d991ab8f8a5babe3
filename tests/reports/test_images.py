"""Images made of images: the grid, heat maps, thumbnails."""

from pathlib import Path

import numpy as np
from PIL import Image

from hymenoptera.reports.images import data_uri, image_grid, overlay, thumbnail


def test_every_image_stands_under_its_title() -> None:
    reds = [51, 102, 153, 204, 255]
    images = [Image.new("RGB", (8, 8), (red, 0, 0)) for red in reds]
    grid = image_grid(images, list("abcde"), side_px=20)
    assert grid.size == (3 * 28 + 8, 2 * 50 + 8)
    found = [grid.getpixel((18 + x * 28, 40 + y * 50))[0] for y in range(2) for x in range(3)]
    assert found == [*reds, 255]  # the last place is empty: white
    assert min(grid.crop((8, 8, 28, 30)).convert("L").tobytes()) < 100  # a title


def test_a_heat_map_is_red_on_a_grey_image() -> None:
    heat = np.zeros((20, 40), dtype=np.float32)
    heat[:, 30:] = 1
    hot = overlay(Image.new("RGB", (40, 20), (20, 20, 20)), heat)
    assert hot.getpixel((5, 10)) == (20, 20, 20)
    red, green, blue = hot.getpixel((37, 10))
    assert red > 150 and green < 30 and blue < 30


def test_a_thumbnail_keeps_the_proportion_and_a_lost_image_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (200, 100), "red").save(path)
    assert thumbnail(path, 50).size == (50, 25)
    assert thumbnail(tmp_path / "gone.png", 50) is None
    path.write_bytes(path.read_bytes()[:40])
    assert thumbnail(path, 50) is None
    Image.fromarray(np.full((8, 8), 0x4000, dtype=np.uint16)).save(tmp_path / "grey.png")
    assert thumbnail(tmp_path / "grey.png", 8).getpixel((0, 0)) == (63, 63, 63)
    assert (data_uri(None), data_uri(b"abc")) == ("", "data:image/jpeg;base64,YWJj")
