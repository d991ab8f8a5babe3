"""Data modules of images in folders, and where the hymenoptera images come from."""

import struct
import sys
import zipfile
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hymenoptera.data.datamodule import ImageDataModule
from hymenoptera.data.folders import find_folder, find_samples
from hymenoptera.data.manifest import Manifest, differences, read_manifest
from hymenoptera.data.samples import FileSamples, Found
from hymenoptera.errors import ConfigError, in_one_line
from hymenoptera.files import make_folder

OFFICIAL_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
NAME = "hymenoptera_data"  # of the folder inside the official archive, too
OWN_IMAGES = "for images of your own use data=imagefolder data.root=DIR."
TIMEOUT_S = 30  # for a connection, and for each piece that comes over it

# RuntimeError and those after it are of encrypted or senseless members
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)


class HymenopteraDataModule(ImageDataModule):
    """Ants and bees: the official archive, downloaded or given, checked against its manifest.

    There are 244 images to train on and 153 to validate on. What else lies in the archive or was
    added to the folder is not used.

    Args:
        source: an address, a zip file or a folder.
        folder: where an archive is kept unpacked.
        options: as of `ImageDataModule`.
    """

    def __init__(self, *, source: str = OFFICIAL_URL, folder: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self._source, self._folder = source, Path(folder).expanduser()

    def prepare_data(self) -> None:
        """Download, unpack and verify, once; ConfigError where the images cannot be had."""
        fetch(self._source, self._folder, official_manifest())

    def find(self) -> Found:
        """The images that the manifest names, verified byte for byte."""
        manifest = official_manifest()
        root = fetch(self._source, self._folder, manifest)
        classes = sorted({name.split("/")[1] for name in manifest})
        ignored: Counter[str] = Counter()
        splits: dict[str, FileSamples] = {}
        for split in ("train", "val"):
            names = sorted(name for name in manifest if name.startswith(f"{split}/"))
            labels = [classes.index(name.split("/")[1]) for name in names]
            splits[split] = FileSamples(root, names, labels)
            present = find_samples(root, root / split, classes, ignored).names
            ignored.update(Path(name).suffix.lower() for name in present if name not in manifest)
        counts = dict(sorted(ignored.items()))
        return Found(root, classes, **splits, ignored=counts, is_verified=True)


class ImageFolderDataModule(ImageDataModule):
    """A folder of class folders, or one with `train/`, `val/` and `test/` of them.

    The splits may have any usual spelling. Without `val/` a share of each class validates; `test/`
    is the held-out test set.

    Args:
        root: the folder.
        options: as of `ImageDataModule`.
    """

    def __init__(self, *, root: str, **options: Any) -> None:
        super().__init__(**options)
        self._root = Path(root).expanduser()

    def find(self) -> Found:
        """The images below the folder; ConfigError where they are not as `find_folder` wants."""
        return find_folder(self._root)


@lru_cache(maxsize=1)
def official_manifest() -> Manifest:
    """What the official archive holds: 397 images."""
    return read_manifest(Path(__file__).with_name("hymenoptera.tsv"))


def fetch(source: str, folder: Path, manifest: Manifest) -> Path:
    """Make the data set available, whole and verified, however many processes ask at once.

    Args:
        source: an address or a local zip, which is unpacked into the folder; or a local folder,
            used in place: the one with `train/` and `val/`, or the one around it.
        folder: where archives are unpacked to, as `hymenoptera_data/`.
        manifest: what the data set consists of.

    Returns:
        The folder that holds `train/` and `val/`.

    Raises:
        ConfigError: the images cannot be had, or not whole. Nothing is left behind.
    """
    path, place = Path(source).expanduser(), folder / NAME
    if "://" not in source and (not source or not path.exists()):
        raise ConfigError(
            f"data.source={source} does not exist. Name a zip, a folder or an address, such as "
            f"{OFFICIAL_URL}."
        )
    if path.is_dir():
        root = path if (path / "train").is_dir() or not (path / NAME).is_dir() else path / NAME
        _verify(root, manifest, str(root), f"Point data.source at the right folder; {OWN_IMAGES}")
        return root
    if "://" not in source and not zipfile.is_zipfile(path):
        raise ConfigError(f"{path} is not a whole zip file. Name one, or a folder.")

    def fill(target: Path) -> None:
        archive = _download(source, target) if "://" in source else path
        _unpack(archive, source, target, manifest)
        if archive != path:
            archive.unlink()

    try:
        make_folder(place, fill)
    except OSError as error:
        raise ConfigError(
            f"The data set cannot be put into {folder}: {error.strerror or error}. "
            "Choose another folder with data.folder=DIR."
        ) from error
    advice = f"Delete {place} to have it made again, or point data.source elsewhere."
    _verify(place, manifest, str(place), advice)
    return place


def _download(url: str, folder: Path) -> Path:
    import pooch  # here, since it is needed once
    from requests import ConnectionError, RequestException, Response, Timeout

    pooch.get_logger().setLevel("WARNING")  # otherwise it tells of each download and its hash
    name = "archive.zip"
    files = pooch.create(folder, "", registry={name: None}, urls={name: url}, retry_if_failed=1)
    try:
        http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
        return Path(files.fetch(name, downloader=http))
    except (RequestException, ValueError) as error:
        reason = in_one_line(error)
        response: Response | None = getattr(error, "response", None)
        if response is not None:
            reason = f"the server answers {response.status_code} {response.reason}".rstrip()
        elif isinstance(error, ConnectionError | Timeout):
            reason = f"no answer from {urlsplit(url).hostname}, so there may be no network"
        raise ConfigError(
            f"Could not download {url}: {reason}.\n"
            "Get the archive in another way, and point at it with\n"
            "data.source=FILE_OR_FOLDER or the environment variable HYMENOPTERA_SOURCE."
        ) from error


def _unpack(archive: Path, source: str, target: Path, manifest: Manifest) -> None:
    """Unpack what a manifest names, and nothing else."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            sizes = {member.filename: member.file_size for member in zipped.infolist()}
            start = "" if any(name in sizes for name in manifest) else f"{NAME}/"
            for name, entry in manifest.items():
                # one of another size may be huge, and is as wrong as one that is missing
                if sizes.get(start + name) == entry.size_bytes:
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    (target / name).write_bytes(zipped.read(start + name))
    except DAMAGE as error:
        raise ConfigError(f"{source} is not a whole zip file ({error}). Get it again.") from error
    _verify(target, manifest, source, f"Get the right archive; {OWN_IMAGES}")


def _verify(folder: Path, manifest: Manifest, name: str, advice: str) -> None:
    wrong = differences(folder, manifest)
    if wrong:
        files = "1 file is" if len(wrong) == 1 else f"{len(wrong)} files are"
        raise ConfigError(
            f"{name} is not the data set it should be, of {len(manifest)} files: {files} missing "
            f"or different ({', '.join(wrong[:3])}{', ...' * (len(wrong) > 3)}).\n{advice}"
        )
