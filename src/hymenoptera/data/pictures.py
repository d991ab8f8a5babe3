"""Pictures: finding their files, and reading one, checked as it is read, as upright RGB."""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import has_magic, iglob
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hymenoptera.data.shards import contents
from hymenoptera.data.threads import in_threads, with_bar
from hymenoptera.errors import RequestError, RunError

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says, it raises as well

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,  # of the AVIF, BLP and DDS readers
    Image.DecompressionBombError,
)

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""What a file may hold, whatever its name: Pillow would hand PostScript to another program."""

EXIF_ORIENTATION = 0x0112

MAX_PIXELS = 89_478_485
"""More is refused from the header alone; it is where Pillow begins to warn of bombs."""

warnings.filterwarnings("ignore", module="PIL")  # of bombs and torn headers, refused below


@contextmanager
def open_picture(source: Path | bytes) -> Iterator[Image.Image]:
    """Open a file to be decoded inside the `with` block; what fails there is one of UNREADABLE.

    Args:
        source: the file, which may be in the shards of a folder above it; or what it holds.

    Raises:
        RunError: a shard cannot be read.
    """
    if isinstance(source, Path) and not source.is_file():
        source = contents(source) or source
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(
                    f"its {picture.width} x {picture.height} pixels are more than "
                    f"{MAX_PIXELS / 1e6:.0f} million"
                )
            yield picture
    except UNREADABLE:
        raise
    except Exception as error:  # bytes from anywhere make the decoders raise almost anything
        raise ValueError(f"{type(error).__name__}: {error}") from error


def find_pictures(names: Iterable[str]) -> Iterator[str]:
    """The files that names on the command line stand for.

    Args:
        names: a file stands for itself, also one that is not there; a folder for the files below
            it whose suffix is of a format that Pillow reads; a pattern for the files that match;
            "-" for the lines on stdin.
    """
    suffixes = {
        suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN
    }
    for name in names:
        path = Path(name).expanduser()
        if name == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        elif path.is_dir():
            below = sorted(path.rglob("*"))
            yield from (str(p) for p in below if p.suffix.lower() in suffixes and p.is_file())
        elif has_magic(name) and not path.exists():
            found = sorted(iglob(str(path), recursive=True))  # noqa: PTH207 # from any folder
            yield from (file for file in found if Path(file).is_file())
        else:
            yield str(path)


def read_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, turned the way its EXIF orientation says.

    Raises:
        RunError: the file cannot be read as a picture.
    """
    try:
        with open_picture(path) as picture:
            return upright_rgb(picture)
    except UNREADABLE as error:
        raise RunError(
            f"{path} cannot be read as a picture ({error}). It could when the run began: "
            f"put it back, then go on with resume=RUN_FOLDER."
        ) from error


def upright_rgb(picture: Image.Image) -> Image.Image:
    """A picture as RGB, turned the way its EXIF orientation says; one of UNREADABLE is raised."""
    picture.load()
    if picture.getexif().get(EXIF_ORIENTATION, 1) != 1:  # otherwise Pillow would copy it
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        raise ValueError("its pixels are floats, whose scale nobody knows")
    if picture.mode.startswith("I"):  # 16 bit: converting would make all but the darkest white
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels have more than 16 bit")
        picture = Image.fromarray((values / 257).round().astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # directly to RGB, Pillow warns
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def unreadable_pictures(paths: list[Path]) -> dict[Path, str]:
    """Decode every picture once, at the smallest size that its format offers.

    Returns:
        Why, by path, of those that cannot be read.
    """
    reasons = with_bar(in_threads(fault, paths), len(paths), "checking pictures")
    return {path: why for path, why in zip(paths, reasons, strict=True) if why}


def why_unreadable(error: Exception, path: Path) -> str:
    """Why a file cannot be read as a picture, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "it is of no format that Pillow reads"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return reason.replace(str(path), "the file").replace("\n", " ")


def refuse_unreadable(
    faults: Mapping[Path, str], way_out: str = ", or leave them out with data.on_error=skip"
) -> None:
    """Refuse a data set with pictures that cannot be read.

    Args:
        faults: why, by path.
        way_out: what else than mending can be done, for the error.

    Raises:
        RequestError: naming the first few, where there are any.
    """
    if not faults:
        return
    named = "; ".join(f"{path} ({why})" for path, why in list(faults.items())[:3])
    raise RequestError(
        f"{len(faults)} of the pictures cannot be read: {named}{'; ...' if len(faults) > 3 else ''}"
        f".\nMend or remove them{way_out}."
    )


def fault(path: Path, data: bytes | None = None) -> str | None:
    """Why a file, of which what it holds may have been read, is no picture; None where it is one.

    It is decoded at the smallest size that its format offers.
    """
    try:
        with open_picture(path if data is None else data) as picture:
            picture.draft("RGB", (64, 64))  # JPEG: reads all the bytes, does less arithmetic
            upright_rgb(picture)
    except UNREADABLE as error:
        return why_unreadable(error, path)
    return None
