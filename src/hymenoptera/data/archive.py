"""Unpacking a zip that came from somewhere else, without trusting what it says."""

import lzma
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

from tqdm import tqdm

from hymenoptera.errors import RequestError

MAX_TOTAL_BYTES = 4 * 1024**3
"""The most that an archive may unpack to: 80 times what the hymenoptera images take."""

MAX_RATIO = 100
"""The most by which unpacking may multiply an archive's size. Pictures stay near 1, text near 4;
a bomb made to fill the disk reaches 1000 and more."""

MAX_MEMBERS = 200_000
"""The most files and folders that an archive may make."""

_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db"}  # what macOS and Windows add when they pack
_CHUNK_BYTES = 1 << 20
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(ValueError, RuntimeError, struct.error),  # of a local header that makes no sense
)


def open_zip(archive: Path) -> zipfile.ZipFile:
    """Open a zip and read its list of members.

    Args:
        archive: the file.

    Raises:
        RequestError: the file is missing, cannot be read, is no zip or is cut short.
    """
    if not archive.is_file():
        raise RequestError(f"There is no file {archive}.")
    try:
        with archive.open("rb") as file:
            start = file.read(4)
        return zipfile.ZipFile(archive)
    except OSError as error:
        raise RequestError(f"{archive} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        if start == b"PK\x03\x04":
            raise RequestError(
                f"{archive} is cut short or damaged: it begins like a zip, but the list of members "
                "at its end cannot be read. Get the archive again."
            ) from error
        raise RequestError(f"{archive} is not a zip. Name a zip archive or a folder.") from error


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip into a folder, or refuse it before anything outside the folder is touched.

    Refused are members with absolute paths, `..`, drive letters, backslashes or control
    characters, links, devices, encrypted members, two members of one name, names that differ in
    case alone (one folder on some disks, two on others), more than `MAX_MEMBERS`, more than
    `MAX_TOTAL_BYTES` in all and a ratio above `MAX_RATIO`. What macOS and Windows add by themselves
    (`__MACOSX/`) is left out.

    Args:
        archive: the zip.
        target: an empty folder; after an error it may hold a part of the archive.

    Raises:
        RequestError: the archive is no zip, cut short, damaged or refused, or the disk is full.
    """
    with open_zip(archive) as zipped:
        members = [info for info in zipped.infolist() if not _is_junk(info)]
        reason = _refusal(members, archive.stat().st_size)
        if reason:
            raise RequestError(
                f"{archive} is refused: {reason}. Get the archive from a place you trust."
            )
        _extract(zipped, members, archive, target)


def _is_junk(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename).parts
    return bool(parts) and (parts[0] in _JUNK or parts[-1] in _JUNK)


def _refusal(members: list[zipfile.ZipInfo], archive_bytes: int) -> str:
    """Say why an archive is not to be unpacked; an empty text where nothing speaks against it."""
    if len(members) > MAX_MEMBERS:
        return f"it has {len(members)} members, more than {MAX_MEMBERS}"
    names = set()
    spellings: dict[str, str] = {}
    for info in members:
        reason = _member_refusal(info)
        if reason:
            return f"its member {info.orig_filename!r} {reason}"
        if info.filename.rstrip("/") in names:
            return f"its member {info.orig_filename!r} is there twice"
        names.add(info.filename.rstrip("/"))
        path = PurePosixPath(info.filename)
        for place in map(str, (path, *path.parents)):
            other = spellings.setdefault(unicodedata.normalize("NFC", place).casefold(), place)
            if other != place:
                return f"its members {other!r} and {place!r} differ in case or accents alone"
    # zipfile reads no more of a member than it declares, so the declared sizes are a true limit
    total_bytes = sum(info.file_size for info in members)
    if total_bytes > MAX_TOTAL_BYTES:
        return f"it unpacks to {total_bytes / 1e9:.1f} GB, more than {MAX_TOTAL_BYTES / 1e9:.1f} GB"
    if total_bytes > MAX_RATIO * archive_bytes:
        return f"it unpacks to more than {MAX_RATIO} times its own size"
    return ""


def _member_refusal(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename  # as the archive has it; zipfile cuts `filename` at a NUL
    kind = stat.S_IFMT(info.external_attr >> 16)
    if "\\" in name or any(unicodedata.category(char) == "Cc" for char in name):
        return "has a backslash or a control character in its name"
    if name.startswith("/"):
        return "has an absolute path"
    if PureWindowsPath(name).drive:
        return "has a drive letter"
    if ".." in PurePosixPath(name).parts:
        return "leads out of the folder"
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "is encrypted"
    return ""


def _extract(
    zipped: zipfile.ZipFile, members: list[zipfile.ZipInfo], archive: Path, target: Path
) -> None:
    total_bytes = sum(info.file_size for info in members)
    free_bytes = shutil.disk_usage(target).free
    if free_bytes < total_bytes:
        raise RequestError(
            f"{archive} needs {total_bytes / 1e6:.0f} MB, and where {target.parent} lies only "
            f"{free_bytes / 1e6:.0f} MB are free."
        )
    with tqdm(
        desc=f"Unpacking {archive.name}",
        total=total_bytes,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None,
    ) as bar:
        for info in members:
            try:
                _extract_member(zipped, info, target, bar)
            except _DAMAGE as error:
                raise RequestError(
                    f"{archive} is damaged: its member {info.filename} cannot be read "
                    f"({error or 'it ends too early'}). Get the archive again."
                ) from error
            except OSError as error:
                raise RequestError(
                    f"{archive} could not be unpacked into {target.parent}: "
                    f"{error.strerror or error} ({info.filename})."
                ) from error


def _extract_member(
    zipped: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, bar: "tqdm[NoReturn]"
) -> None:
    place = target / info.filename
    if info.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipped.open(info) as source, place.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):  # the last read compares the CRC-32
            file.write(chunk)
            bar.update(len(chunk))
