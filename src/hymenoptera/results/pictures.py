"""Pictures of pictures: a grid, a sheet of thumbnails, heat over a picture."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hymenoptera.data.pictures import UNREADABLE, open_picture, upright_rgb
from hymenoptera.data.threads import in_threads

GAP_PX = 8
MOST_KEPT = 4000  # thumbnails: the runs of a sweep have the same pictures


def picture_grid(
    pictures: Sequence[Image.Image], titles: Sequence[str], side_px: int = 160
) -> Image.Image:
    """Pictures in rows, each under its title.

    Args:
        pictures: all of one proportion.
        titles: of the pictures, each of as many lines as the others.
        side_px: height of a picture in the grid, in pixels.

    Returns:
        An RGB picture of about as many rows as columns.
    """
    width_px = round(side_px * pictures[0].width / pictures[0].height)
    columns = math.ceil(math.sqrt(len(titles) * side_px / width_px))
    rows = math.ceil(len(titles) / columns)
    text_px = max(14, width_px // 14)  # read in a grid that is shown at half its size
    title_px = (text_px + 4) * (titles[0].count("\n") + 1) + 4
    cell = (width_px + GAP_PX, side_px + title_px + GAP_PX)
    grid = Image.new("RGB", (columns * cell[0] + GAP_PX, rows * cell[1] + GAP_PX), "white")
    draw = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=text_px)
    for position, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = GAP_PX + position % columns * cell[0]
        top = GAP_PX + position // columns * cell[1]
        draw.multiline_text((left, top), title, fill="black", font=font, spacing=2)
        tile = picture.resize((width_px, side_px), Image.Resampling.BICUBIC)
        grid.paste(tile, (left, top + title_px))
    return grid


def overlay(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """A picture in grey with heat over it, from nothing over yellow to red.

    Args:
        picture: RGB.
        heat: (H, W) on the scale 0 to 1, stretched over the picture.
    """
    stretched = Image.fromarray((heat * 255).astype(np.uint8)).resize(
        picture.size, Image.Resampling.BICUBIC
    )
    share = np.asarray(stretched, dtype=np.float32)[..., None] / 255  # (H, W, 1)
    colour = np.concatenate([255 + 0 * share, 225 * (1 - share), 30 * (1 - share)], axis=2)
    opacity = 0.75 * share**0.7
    grey = np.asarray(picture.convert("L"), dtype=np.float32)[..., None]
    pixels = grey * (1 - opacity) + colour * opacity
    return Image.fromarray(pixels.round().astype(np.uint8))


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one height as one."""
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def sprite(pictures: Sequence[Image.Image | None], side_px: int) -> Image.Image:
    """Thumbnails in a square sheet, row by row, as TensorBoard's projector wants them.

    Args:
        pictures: of at most `side_px` a side; the place of a None stays empty.
        side_px: of a picture's place.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    sheet = Image.new("RGB", (columns * side_px, columns * side_px), "white")
    for position, picture in enumerate(pictures):
        if picture is not None:
            left, top = (side_px * place for place in reversed(divmod(position, columns)))
            margins = (side_px - picture.width) // 2, (side_px - picture.height) // 2
            sheet.paste(picture, (left + margins[0], top + margins[1]))
    return sheet


def thumbnail(path: Path, side_px: int) -> Image.Image | None:
    """A picture of at most so many pixels a side; None where it cannot be read any more."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    return _thumbnail(path, side_px, changed)


def thumbnails(paths: Iterable[Path], side_px: int) -> list[Image.Image | None]:
    """`thumbnail` of each path, several at a time."""
    return list(in_threads(lambda path: thumbnail(path, side_px), paths))


@lru_cache(maxsize=MOST_KEPT)
def _thumbnail(path: Path, side_px: int, changed_ns: int) -> Image.Image | None:
    try:
        with open_picture(path) as picture:
            picture.draft("RGB", (side_px, side_px))  # JPEG: decodes a small version
            small = upright_rgb(picture)
            small.thumbnail((side_px, side_px))
            return small
    except UNREADABLE:
        return None


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """A picture as an address that a page can hold in itself."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return jpeg_uri(content.getvalue())


def jpeg_uri(content: bytes) -> str:
    """A JPEG file's content as such an address."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
