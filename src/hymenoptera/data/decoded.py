"""Decoded pictures: uint8, one after the other in a single buffer, in memory or mapped from disk.

A single buffer is what processes share: those that read pictures are forked and only read it, so
that there is one copy in memory, whatever their number.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from torch import Tensor

from hymenoptera.data.features import cached
from hymenoptera.data.pictures import EXIF_ORIENTATION, UNREADABLE, open_picture, read_picture
from hymenoptera.data.room import free_disk_bytes, in_units
from hymenoptera.data.threads import in_threads, with_bar
from hymenoptera.errors import RequestError, RunError
from hymenoptera.preprocessing import Preprocessing

TURNED = (5, 6, 7, 8)  # orientations that swap width and height


@dataclass(frozen=True)
class Decoded:
    """Pictures in a buffer.

    Attributes:
        pixels: (P, 3) uint8, RGB, row by row, picture after picture.
        starts: (N,) int64, where each picture begins in it.
        sizes: (N, 2) int32, height and width of each.
    """

    pixels: Tensor
    starts: NDArray[np.int64]
    sizes: NDArray[np.int32]

    def picture(self, position: int) -> Image.Image:
        """A picture of the buffer."""
        height, width = (int(length) for length in self.sizes[position])
        start = int(self.starts[position])
        pixels = self.pixels[start : start + height * width]
        return Image.fromarray(pixels.view(height, width, 3).numpy())


@dataclass(frozen=True)
class Plan:
    """What is to be decoded, and how.

    Attributes:
        paths: of the pictures.
        sizes: (N, 2) int32, height and width of each once it is made smaller.
        shrink: makes a picture smaller.
        facts: all that determines the pixels, beside the files.
    """

    paths: Sequence[Path]
    sizes: NDArray[np.int32]
    shrink: Callable[[Image.Image], Image.Image]
    facts: dict[str, Any]

    @property
    def starts(self) -> NDArray[np.int64]:
        """(N,) where each picture begins, in pixels."""
        ends = self.sizes.astype(np.int64).prod(axis=1).cumsum()
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)

    @property
    def size_bytes(self) -> int:
        """Of all of them, decoded."""
        return 3 * int(self.sizes.astype(np.int64).prod(axis=1).sum())


def plan_whole(paths: Sequence[Path], size_px: int, sizes: NDArray[np.int32]) -> Plan:
    """Whole pictures, to be cropped at random: the shorter side is `size_px` at the most.

    Args:
        paths: of the pictures.
        size_px: no picture is enlarged.
        sizes: (N, 2) height and width of each file, as `file_sizes` gives them.
    """
    shrunk = np.array([_shrunk(height, width, size_px) for height, width in sizes], dtype=np.int32)

    def shrink(picture: Image.Image) -> Image.Image:
        height, width = _shrunk(picture.height, picture.width, size_px)
        if (width, height) == picture.size:
            return picture
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    return Plan(paths, shrunk, shrink, {"whole": size_px})


def plan_framed(paths: Sequence[Path], preprocessing: Preprocessing) -> Plan:
    """Pictures as validation frames them: the pixels that it would compute each time."""
    side = preprocessing.crop_px
    facts = {"framed": preprocessing.to_dict()}
    return Plan(paths, np.full((len(paths), 2), side, dtype=np.int32), preprocessing.frame(), facts)


def file_sizes(paths: Sequence[Path]) -> NDArray[np.int32]:
    """(N, 2) height and width of pictures, upright, from the heads of their files."""
    sizes = with_bar(in_threads(_file_size, paths), len(paths), "measuring pictures")
    return np.array(list(sizes), dtype=np.int32).reshape(-1, 2)


def in_memory(plan: Plan) -> Decoded:
    """Decode pictures into memory."""
    buffer = torch.empty(plan.size_bytes, dtype=torch.uint8)
    end = 0
    for pixels in _decode(plan):
        buffer[end : end + len(pixels)] = pixels
        end += len(pixels)
    return Decoded(buffer.view(-1, 3), plan.starts, plan.sizes)


def on_disk(plan: Plan, folder: Path, manifest_hash: str, root: Path) -> tuple[Decoded, bool]:
    """Decode pictures into a file, or find them in one; either way it is mapped, not read.

    Args:
        plan: what is to be decoded.
        folder: of the files; made where there is none.
        manifest_hash: of the pictures' content.
        root: of the data set, above the pictures.

    Returns:
        The pictures, and whether they had to be decoded.

    Raises:
        RequestError: the folder cannot be written, or has no room for them.
    """

    def decode() -> Iterator[Tensor]:
        free_bytes = free_disk_bytes(folder)
        if plan.size_bytes > free_bytes:
            raise RequestError(
                f"data.cache_folder={folder}: {len(plan.paths)} decoded pictures take "
                f"{in_units(plan.size_bytes)}, and {in_units(free_bytes)} are free there. "
                f"Choose another folder, a smaller data.cache_size, or data.cache=none."
            )
        return _decode(plan)

    facts = {**plan.facts, **_facts(plan.paths, manifest_hash, root)}
    buffer, made = _cached(folder, facts, plan.size_bytes, decode)
    return Decoded(buffer.view(-1, 3), plan.starts, plan.sizes), made


def file_sizes_on_disk(
    paths: Sequence[Path], folder: Path, manifest_hash: str, root: Path
) -> NDArray[np.int32]:
    """As `file_sizes`, kept beside the pictures: a PNG's head alone does not tell its rotation."""
    facts = {"sizes": True, **_facts(paths, manifest_hash, root)}
    sizes, _ = _cached(folder, facts, len(paths), lambda: [torch.from_numpy(file_sizes(paths))])
    return sizes.numpy()


def _decode(plan: Plan) -> Iterator[Tensor]:
    """The pixels of each picture, (3 * height * width,) uint8."""
    pictures = in_threads(lambda path: np.array(plan.shrink(read_picture(path))), plan.paths)
    shown = with_bar(pictures, len(plan.paths), "decoding pictures")
    for path, size, pixels in zip(plan.paths, plan.sizes, shown, strict=True):
        if pixels.shape[:2] != tuple(size):
            raise RunError(f"{path} has changed since the run began.")
        yield torch.from_numpy(pixels.reshape(-1))


def _file_size(path: Path) -> tuple[int, int]:
    try:
        with open_picture(path) as picture:
            width, height = picture.size
            if isinstance(picture, TiffImagePlugin.TiffImageFile):
                # some versions of Pillow give these as turned, from the start on
                tags = picture.tag_v2
                width = tags[TiffImagePlugin.IMAGEWIDTH]
                height = tags[TiffImagePlugin.IMAGELENGTH]
            turned = picture.getexif().get(EXIF_ORIENTATION) in TURNED
            return (width, height) if turned else (height, width)
    except UNREADABLE as error:
        raise RunError(f"{path} cannot be read as a picture ({error}).") from error


def _shrunk(height: int, width: int, size_px: int) -> tuple[int, int]:
    """Height and width with the shorter one at `size_px`, if it was longer."""
    share = size_px / min(height, width)
    return (height, width) if share >= 1 else (round(height * share), round(width * share))


def _facts(paths: Sequence[Path], manifest_hash: str, root: Path) -> dict[str, Any]:
    """Which files in which order, and what decodes them."""
    names = hashlib.sha256()
    for path in paths:
        names.update(f"{path.relative_to(root).as_posix()}\n".encode())
    return {
        "manifest": manifest_hash,
        "names": names.hexdigest(),
        "pillow": version("pillow"),
    }


def _cached(
    folder: Path, facts: dict[str, Any], count: int, compute: Callable[[], Iterable[Tensor]]
) -> tuple[Tensor, bool]:
    return cached(
        folder,
        facts,
        count,
        compute,
        what="decoded pictures",
        key="data.cache_folder",
        way_out="data.cache=none",
    )
