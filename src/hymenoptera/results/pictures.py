"""Pictures of pictures: a grid, heat over a picture, a thumbnail to put into a page."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hymenoptera.data.pictures import UNREADABLE, open_picture, upright_rgb

GAP_PX, LINE_PX = 8, 18


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
    title_px = LINE_PX * (titles[0].count("\n") + 1) + 4
    cell = (width_px + GAP_PX, side_px + title_px + GAP_PX)
    grid = Image.new("RGB", (columns * cell[0] + GAP_PX, rows * cell[1] + GAP_PX), "white")
    draw = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=14)
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


def thumbnail(path: Path, side_px: int) -> Image.Image | None:
    """A picture of at most so many pixels a side; None where it cannot be read any more."""
    try:
        with open_picture(path) as picture:
            picture.draft("RGB", (side_px * 2, side_px * 2))  # JPEG: decodes a small version
            small = upright_rgb(picture)
            small.thumbnail((side_px, side_px))
            return small
    except UNREADABLE:
        return None


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """A picture as an address that a page can hold in itself."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
