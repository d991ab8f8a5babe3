import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from hymenoptera.data import archive as archive_module
from hymenoptera.data.archive import open_zip, unpack
from hymenoptera.errors import RequestError
from loopback import zip_bytes

FILES = {"set/train/a/1.jpg": b"one" * 500, "set/val/a/2.jpg": b"two" * 500, "set/empty": b""}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "target"
    folder.mkdir(parents=True)
    return folder


def archive_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_out_as_they_went_in(tmp_path, target, compression):
    unpack(archive_of(tmp_path, zip_bytes(FILES, compression)), target)
    assert contents(target) == FILES


def test_what_macos_and_windows_add_is_left_out(tmp_path, target):
    junk = {"__MACOSX/set/._1.jpg": b"x", "set/.DS_Store": b"x", "set/train/Thumbs.db": b"x"}
    unpack(archive_of(tmp_path, zip_bytes({**junk, **FILES})), target)
    assert contents(target) == FILES


def test_folders_of_their_own_are_made(tmp_path, target):
    unpack(archive_of(tmp_path, zip_bytes({"set/": b"", "set/none/": b""})), target)
    assert (target / "set" / "none").is_dir()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute path"),
        ("../outside", "leads out of the folder"),
        ("set/../../outside", "leads out of the folder"),
        ("C:/outside", "drive letter"),
        ("C:outside", "drive letter"),
        ("set\\..\\outside", "backslash"),
        ("set/two\nlines", "control character"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, target, name, reason):
    path = archive_of(tmp_path, zip_bytes({**FILES, name: b"evil"}))
    with pytest.raises(RequestError, match=reason) as raised:
        unpack(path, target)
    assert str(raised.value).startswith(f"{path} is refused: its member ")
    assert contents(tmp_path) == {"some.zip": path.read_bytes()}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "neither a file nor a folder")],
)
def test_links_and_devices_are_refused(tmp_path, target, kind, reason):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (kind | 0o777) << 16
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(RequestError, match=reason):
        unpack(path, target)
    assert contents(target) == {}


def test_encrypted_members_are_refused(tmp_path, target):
    data = bytearray(zip_bytes({"secret": b"content"}))
    data[6] |= 1  # the local header's flags
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the central directory's
    with pytest.raises(RequestError, match="is encrypted"):
        unpack(archive_of(tmp_path, bytes(data)), target)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path, target):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a", "1")
        zipped.writestr("a", "2")
    with pytest.raises(RequestError, match="is there twice"):
        unpack(path, target)


def test_a_file_where_a_folder_must_be_is_an_error(tmp_path, target):
    with pytest.raises(RequestError, match="could not be unpacked"):
        unpack(archive_of(tmp_path, zip_bytes({"a": b"1", "a/b": b"2"})), target)


def test_a_bomb_is_refused_before_it_unpacks(tmp_path, target):
    path = archive_of(tmp_path, zip_bytes({"zeros": bytes(2_000_000)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(RequestError, match="more than 100 times its own size"):
        unpack(path, target)
    assert contents(target) == {}


def test_a_total_above_the_limit_is_refused(tmp_path, target, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_TOTAL_BYTES", 2999)
    with pytest.raises(RequestError, match=r"more than 0\.0 GB"):
        unpack(archive_of(tmp_path, zip_bytes(FILES)), target)


def test_a_member_cannot_exceed_its_declared_size(tmp_path, target):
    data = bytearray(zip_bytes({"big": b"x" * 100_000}, zipfile.ZIP_DEFLATED))
    small = struct.pack("<I", 10)
    data[22:26] = small  # uncompressed size, local header and central directory
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = small
    with pytest.raises(RequestError, match="is damaged"):
        unpack(archive_of(tmp_path, bytes(data)), target)
    assert all(len(content) <= 10 for content in contents(target).values())


def test_a_full_disk_is_said_before_unpacking(tmp_path, target, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RequestError, match=r"needs 0 MB, and where .* only 0 MB are free"):
        unpack(archive_of(tmp_path, zip_bytes(FILES)), target)
    assert contents(target) == {}


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x1f\x8b" + bytes(100)])
def test_what_is_no_zip_is_refused(tmp_path, target, content):
    path = archive_of(tmp_path, content)
    with pytest.raises(RequestError, match="is not a zip") as raised:
        unpack(path, target)
    assert str(path) in str(raised.value)


def test_a_missing_archive_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(RequestError, match="There is no file"):
            open_zip(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_an_archive_cut_short_is_told_from_other_files(tmp_path, target, kept):
    whole = zip_bytes(FILES)
    path = archive_of(tmp_path, whole[: int(len(whole) * kept)])
    with pytest.raises(RequestError, match="is cut short or damaged"):
        unpack(path, target)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_byte_is_noticed(tmp_path, target, compression):
    noise = b"".join(zlib.compress(bytes([n])) for n in range(200))
    data = bytearray(zip_bytes({"set/noise": noise}, compression))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(RequestError, match="is damaged: its member set/noise cannot be read"):
        unpack(archive_of(tmp_path, bytes(data)), target)
