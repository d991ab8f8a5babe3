"""Reading pictures: a file, checked as it is read, as upright RGB."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from hymenoptera.errors import RequestError, RunError

UNREADABLE = (
    OSError,
    UnidentifiedImageError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)


def read_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, turned the way its EXIF orientation says.

    Raises:
        RunError: the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as picture:
            return upright_rgb(picture)
    except UNREADABLE as error:
        raise RunError(
            f"{path} cannot be read as a picture ({error}). It could when the run began: "
            f"put it back, then go on with resume=RUN_FOLDER."
        ) from error


def upright_rgb(picture: Image.Image) -> Image.Image:
    """A picture as RGB, turned the way its EXIF orientation says; one of UNREADABLE is raised."""
    return ImageOps.exif_transpose(picture).convert("RGB")


def unreadable_pictures(paths: list[Path]) -> dict[Path, str]:
    """Decode every picture once, at the smallest size that its format offers.

    Returns:
        Why, by path, of those that cannot be read.
    """
    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding Python's lock
        reasons = tqdm(
            pool.map(_fault, paths),
            total=len(paths),
            desc="checking pictures",
            unit="picture",
            leave=False,
            delay=1.0,
            disable=None,
        )
        return {path: why for path, why in zip(paths, reasons, strict=True) if why}


def why_unreadable(error: Exception, path: Path) -> str:
    """Why a file cannot be read as a picture, in one line."""
    return str(error).replace(str(path), "the file").replace("\n", " ")


def refuse_unreadable(
    faults: dict[Path, str], way_out: str = ", or leave them out with data.on_error=skip"
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


def _fault(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (64, 64))  # JPEG: reads all the bytes, does less arithmetic
            picture.load()
    except UNREADABLE as error:
        return why_unreadable(error, path)
    return None
