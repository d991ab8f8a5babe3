"""Images: finding their files, and reading one, checked as it is read, as upright RGB."""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import has_magic, iglob
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from hymenoptera.errors import RunError

IMAGE_SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
"""In lower case: the files that are images, to train on and to predict."""

UNREAD_SUFFIXES = {".dng", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg"}
"""Images that are not read. `find_images` yields them, so that they are answered by an error."""

Image.init()
FORMATS: list[str] = [
    *("JPEG", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF"),
    *(["AVIF"] if "AVIF" in Image.OPEN else []),  # Pillow reads it since 11.3
]
"""What a file may hold, whatever its name: Pillow would hand PostScript to another program."""

UNREADABLE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""What reading an image raises."""

MAX_PIXELS = 89_478_485
"""More is rejected from the header alone; it is where Pillow begins to warn of bombs."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says, it raises as well
warnings.filterwarnings("ignore", module="PIL")  # of bombs and torn headers, rejected below


@contextmanager
def open_image(source: Path | bytes) -> Iterator[Image.Image]:
    """Open a file, or what it holds, to be decoded inside the `with` block; raises UNREADABLE."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise ValueError(f"its {size} pixels are more than {MAX_PIXELS / 1e6:.0f} million")
            yield image
    except (*UNREADABLE, MemoryError):
        raise
    except Exception as error:  # bytes from anywhere make the decoders raise almost anything
        raise ValueError(f"{type(error).__name__}: {error}") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image as RGB, turned as its EXIF orientation says; raises UNREADABLE."""
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # otherwise Pillow would copy it
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats, whose scale nobody knows")
    if image.mode.startswith("I"):  # 16 bit: converting would make all but the darkest white
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels have more than 16 bit")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns
    return image if image.mode == "RGB" else image.convert("RGB")


def read_image(source: Path | bytes, name: str = "") -> Image.Image:
    """Read an image of a data set, a file or what it holds, as upright RGB.

    Raises:
        RunError: it cannot be read; the error has the name, or the path.
    """
    try:
        with open_image(source) as image:
            return upright_rgb(image)
    except UNREADABLE as error:
        path = source if isinstance(source, Path) else None
        raise RunError(
            f"{name or path or 'An image'} cannot be read ({why_unreadable(error, path)}). If it "
            "could when the run began, put it back, then resume the run with resume=RUN_FOLDER."
        ) from error


def fault(source: Path | bytes) -> str | None:
    """Why an image cannot be read, in one line; None where it can."""
    try:
        with open_image(source) as image:
            image.draft("RGB", (64, 64))  # JPEG: reads all the bytes, does less arithmetic
            upright_rgb(image)
    except UNREADABLE as error:
        return why_unreadable(error, source if isinstance(source, Path) else None)
    return None


def why_unreadable(error: Exception, path: Path | None = None) -> str:
    """Say in one line why a file cannot be read as an image."""
    if isinstance(error, UnidentifiedImageError):
        return "it is of no format that is read here"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.replace(str(path), "the file").replace("\n", " ")


def find_images(names: Iterable[str]) -> Iterator[str]:
    """The files that names on the command line stand for.

    Args:
        names: a file stands for itself, also one that is not there; a folder for the images below
            it, less hidden ones; a pattern for the files that match; "-" for the lines on stdin.
    """
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                is_known = file.suffix.lower() in IMAGE_SUFFIXES | UNREAD_SUFFIXES
                hidden = any(map(is_hidden, file.relative_to(path).parts))
                if is_known and not hidden and file.is_file():
                    yield str(file)
        elif has_magic(name) and not path.exists():
            found = sorted(iglob(str(path), recursive=True))  # noqa: PTH207 # from any folder
            yield from (file for file in found if Path(file).is_file())
        else:
            yield str(path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's or a program's own: never an image or a class."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")
