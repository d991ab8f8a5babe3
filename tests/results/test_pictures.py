"""Pictures of pictures: the grid, heat, thumbnails."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from hymenoptera.results.pictures import data_uri, overlay, picture_grid, sprite, thumbnail


def test_every_picture_stands_under_its_title() -> None:
    reds = [51, 102, 153, 204, 255]
    pictures = [Image.new("RGB", (8, 8), (red, 0, 0)) for red in reds]
    grid = picture_grid(pictures, list("abcde"), side_px=20)
    assert grid.size == (3 * 28 + 8, 2 * 50 + 8)
    found = [
        grid.getpixel((8 + column * 28 + 10, 8 + row * 50 + 22 + 10))[0]
        for row in range(2)
        for column in range(3)
    ]
    assert found == [*reds, 255]  # the last place is empty: white
    title = grid.crop((8, 8, 28, 30)).convert("L")
    assert min(title.tobytes()) < 100


def test_heat_is_red_on_a_grey_picture() -> None:
    picture = Image.new("RGB", (40, 20), (20, 20, 20))
    heat = np.zeros((20, 40), dtype=np.float32)
    heat[:, 30:] = 1
    hot = overlay(picture, heat)
    assert hot.getpixel((5, 10)) == (20, 20, 20)
    red, green, blue = hot.getpixel((37, 10))
    assert red > 150 and green < 30 and blue < 30


def test_a_thumbnail_keeps_the_proportion_and_a_lost_picture_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (200, 100), "red").save(path)
    small = thumbnail(path, 50)
    assert small is not None and small.size == (50, 25)
    assert thumbnail(tmp_path / "gone.png", 50) is None
    path.write_bytes(path.read_bytes()[:40])
    assert thumbnail(path, 50) is None


def test_a_sheet_has_each_thumbnail_in_the_middle_of_its_place() -> None:
    reds = [Image.new("RGB", (10, 4), (red, 0, 0)) for red in (50, 100, 150)]
    sheet = sprite([*reds[:2], None, reds[2], reds[0]], 10)
    assert sheet.size == (30, 30)
    assert [sheet.getpixel((x, y))[0] for y in (5, 15) for x in (5, 15, 25)] == [
        *(50, 100, 255),
        *(150, 50, 255),
    ]
    assert sheet.getpixel((5, 1)) == sheet.getpixel((5, 8)) == (255, 255, 255)


def test_a_data_uri_holds_the_picture() -> None:
    head, _, content = data_uri(Image.new("RGB", (12, 7), "red")).partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (12, 7)
