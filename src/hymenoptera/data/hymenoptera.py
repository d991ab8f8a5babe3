"""Where the hymenoptera images come from: an address, a zip or a folder, always the same images."""

import shutil
from collections.abc import Callable
from pathlib import Path

from hymenoptera.atomic import make_folder
from hymenoptera.data.archive import open_zip, unpack
from hymenoptera.data.manifest import Manifest, check, read_manifest
from hymenoptera.download import DownloadError, check_address, download
from hymenoptera.errors import RequestError

OFFICIAL_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
MANIFEST_PATH = Path(__file__).with_name("hymenoptera.tsv")

_NAME = "hymenoptera_data"
_HOW_TO_POINT = (
    "data.source=FILE_OR_FOLDER on the command line, or the environment variable HYMENOPTERA_SOURCE"
)


def fetch(
    source: str, folder: Path, *, manifest: Manifest | None = None, backoff_s: float = 0.5
) -> Path:
    """Make the data set available, whole and verified, however many processes ask at once.

    Args:
        source: an http or https address of the archive, a local zip, or a local folder, which is
            used in place: the one with `train/` and `val/`, or the one around it.
        folder: where archives are downloaded and unpacked to, as `hymenoptera_data/`; a folder
            as the source needs none. An archive put there by hand as `hymenoptera_data.zip` is
            used in place of a download and stays.
        manifest: what the data set consists of; the one of the official archive by default.
        backoff_s: see `download`.

    Returns:
        The folder that holds `train/` and `val/`.

    Raises:
        RequestError: the source is not there, cannot be had, is not a zip, or holds anything else
            than the manifest says. Nothing but the part of a broken download is left behind.
    """
    manifest = read_manifest(MANIFEST_PATH) if manifest is None else manifest
    folder = folder.expanduser()
    if "://" in source:
        check_address(source)
        archive = folder / f"{_NAME}.zip"
        return _placed(
            folder, manifest, lambda to: _download(source, archive, to, manifest, backoff_s)
        )
    path = Path(source).expanduser()
    if not source or not path.exists():
        raise RequestError(
            f"data.source={source} does not exist. Name a zip, a folder or an address, such as "
            f"{OFFICIAL_URL}."
        )
    if path.is_dir():
        root = _root(path)
        check(root, manifest, advice=_other_pictures("Point data.source at the right folder"))
        return root
    open_zip(path).close()  # refuses what is no zip, even where nothing needs unpacking any more
    return _placed(folder, manifest, lambda to: _unpack(path, to, manifest))


def _placed(folder: Path, manifest: Manifest, fill: Callable[[Path], None]) -> Path:
    """Have the data set made inside the folder, or verify the one that is there."""
    place = folder / _NAME
    try:
        make_folder(place, fill)
    except OSError as error:
        raise RequestError(
            f"The data set cannot be put into {folder}: {error.strerror or error}. "
            "Choose another folder."
        ) from error
    advice = f"Delete {place} to have it made again, or point data.source elsewhere."
    check(place, manifest, advice=advice)
    return place


def _download(
    url: str, archive: Path, temporary: Path, manifest: Manifest, backoff_s: float
) -> None:
    """Download, unpack and verify; only an archive that was there before stays."""
    by_hand = archive.is_file()
    try:
        download(url, archive, backoff_s=backoff_s)
    except DownloadError as error:
        begun = archive.with_name(f"{archive.name}.part").exists()
        again = " The same command goes on from there." if begun else ""
        raise RequestError(
            f"{error}{again}\n"
            f"Instead, put the archive at {archive} by hand, or anywhere else and\n"
            f"point at it with {_HOW_TO_POINT}."
        ) from error
    try:
        _unpack(archive, temporary, manifest)
    except RequestError as error:
        if by_hand:
            raise
        archive.unlink()
        raise RequestError(
            f"{error}\nIt came from {url} and is deleted; the same command downloads it again."
        ) from error
    if not by_hand:
        archive.unlink()


def _unpack(archive: Path, temporary: Path, manifest: Manifest) -> None:
    unpacked = temporary / ".unpacked"
    unpacked.mkdir()
    unpack(archive, unpacked)
    root = _root(unpacked)
    check(root, manifest, name=str(archive), advice=_other_pictures("Get the right archive"))
    for child in root.iterdir():
        child.rename(temporary / child.name)
    shutil.rmtree(unpacked)


def _root(folder: Path) -> Path:
    """Find the folder with `train/` and `val/`: the one given, or the one inside it."""
    inner = folder / _NAME
    has_split = (folder / "train").is_dir() or (folder / "val").is_dir()
    return inner if inner.is_dir() and not has_split else folder


def _other_pictures(advice: str) -> str:
    return f"{advice}; for pictures of your own use data=imagefolder data.root=DIR."
