"""Images made of images: a grid, thumbnails, a heat map over an image."""

import base64
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

GAP_PX = 8
MAX_THUMBNAILS = 4000  # in memory: the runs of a sweep have the same images
THREADS = 4


def image_grid(
    images: Sequence[Image.Image], titles: Sequence[str], side_px: int = 160
) -> Image.Image:
    """About as many rows as columns of images, each under its title.

    The images are of one proportion, `side_px` high in the grid; titles have equally many lines.
    """
    width_px = round(side_px * images[0].width / images[0].height)
    columns = math.ceil(math.sqrt(len(titles) * side_px / width_px))
    rows = math.ceil(len(titles) / columns)
    text_px = max(14, width_px // 14)  # read in a grid that is shown at half its size
    title_px = (text_px + 4) * (titles[0].count("\n") + 1) + 4
    cell = (width_px + GAP_PX, side_px + title_px + GAP_PX)
    grid = Image.new("RGB", (columns * cell[0] + GAP_PX, rows * cell[1] + GAP_PX), "white")
    draw = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=text_px)
    for position, (image, title) in enumerate(zip(images, titles, strict=True)):
        left = GAP_PX + position % columns * cell[0]
        top = GAP_PX + position // columns * cell[1]
        draw.multiline_text((left, top), title, fill="black", font=font, spacing=2)
        tile = image.resize((width_px, side_px), Image.Resampling.BICUBIC)
        grid.paste(tile, (left, top + title_px))
    return grid


def overlay(image: Image.Image, heat_map: NDArray[np.float32]) -> Image.Image:
    """An image in grey under a heat map, (H, W) from 0 to 1, from nothing over yellow to red."""
    stretched = Image.fromarray((heat_map * 255).astype(np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    heat = np.asarray(stretched, dtype=np.float32)[..., None] / 255  # (H, W, 1)
    colour = np.concatenate([255 + 0 * heat, 225 * (1 - heat), 30 * (1 - heat)], axis=2)
    opacity = 0.75 * heat**0.7
    grey = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    pixels = grey * (1 - opacity) + colour * opacity
    return Image.fromarray(pixels.round().astype(np.uint8))


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two images of one height as one."""
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def grad_cam_file(folder: Path, name: str) -> Path:
    """Where a run keeps the Grad-CAM heat map of an image, of this name in the data set."""
    inside = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
    return folder.joinpath("images", "grad_cam", *inside[:-1], f"{inside[-1]}.jpg")


def thumbnail(path: Path, side_px: int) -> Image.Image | None:
    """An image file upright, at most so many pixels a side; None where it cannot be read."""
    try:
        return _thumbnail(path, side_px, path.stat().st_mtime_ns)
    except Exception:  # Pillow's decoders raise nearly anything on a damaged file
        return None


def thumbnails(paths: Sequence[Path], side_px: int) -> list[Image.Image | None]:
    """`thumbnail` of each path, several at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda path: thumbnail(path, side_px), paths))


@lru_cache(maxsize=MAX_THUMBNAILS)
def _thumbnail(path: Path, side_px: int, changed_ns: int) -> Image.Image:
    with Image.open(path) as file:
        file.draft("RGB", (side_px, side_px))  # JPEG: decodes a small version
        small: Image.Image = ImageOps.exif_transpose(file)
        if small.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
            small = Image.fromarray((np.asarray(small) / 257).clip(0, 255).astype(np.uint8))
        small.thumbnail((side_px, side_px))
        return small.convert("RGB")


def data_uri(image: Image.Image | bytes | None, quality: int = 82) -> str:
    """An image, or a JPEG file's content, as an address in a page itself; empty for None."""
    if image is None:
        return ""
    if isinstance(image, Image.Image):
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        image = content.getvalue()
    return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
