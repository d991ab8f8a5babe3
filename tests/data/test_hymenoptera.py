import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hymenoptera.data.hymenoptera import MANIFEST_PATH, fetch
from hymenoptera.data.manifest import Entry, check, read_manifest
from hymenoptera.errors import RequestError
from loopback import Fault, Loopback, loopback, zip_bytes  # noqa: F401 - a fixture

_random = random.Random(0)
IMAGES = {
    f"{split}/{name}/{n}.jpg": _random.randbytes(4000)
    for split in ("train", "val")
    for name in ("ants", "bees")
    for n in range(3)
}
MANIFEST = {
    path: Entry(len(content), hashlib.sha256(content).hexdigest())
    for path, content in IMAGES.items()
}
ARCHIVE = zip_bytes(
    {
        **{f"hymenoptera_data/{path}": content for path, content in IMAGES.items()},
        "hymenoptera_data/train/ants/imageNotFound.gif": b"GIF89a",
    }
)

FETCH = """
import sys
from pathlib import Path
from hymenoptera.data.hymenoptera import fetch
from hymenoptera.data.manifest import read_manifest
url, folder, manifest = sys.argv[1:]
print(fetch(url, Path(folder), manifest=read_manifest(Path(manifest))))
"""


@pytest.fixture
def server(loopback: Loopback) -> Loopback:  # noqa: F811
    loopback.content = ARCHIVE
    return loopback


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "data"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "by hand" / "images.zip"
    path.parent.mkdir()
    path.write_bytes(ARCHIVE)
    return path


def small(source: str | Path, folder: Path) -> Path:
    return fetch(str(source), folder, manifest=MANIFEST, backoff_s=0.001)


def is_whole(place: Path) -> bool:
    check(place, MANIFEST)
    return sorted(path.name for path in place.iterdir()) == ["train", "val"]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# from an address


def test_an_address_is_downloaded_unpacked_and_tidied(server, folder):
    place = small(server.url, folder)
    assert place == folder / "hymenoptera_data"
    assert is_whole(place)
    assert (place / "train" / "ants" / "imageNotFound.gif").exists()
    assert left_in(folder) == ["hymenoptera_data"]


def test_a_second_call_asks_nobody(server, folder):
    assert small(server.url, folder) == small(server.url, folder)
    assert len(server.requests) == 1


def test_a_broken_download_is_gone_on_with(server, folder):
    server.faults = [Fault("cut", 20_000)]
    server.always = Fault("status", 503)
    with pytest.raises(RequestError, match="The same command goes on from there") as raised:
        small(server.url, folder)
    assert len(str(raised.value).splitlines()) == 3
    assert left_in(folder) == ["hymenoptera_data.zip.part", "hymenoptera_data.zip.part.json"]

    server.always = None
    assert is_whole(small(server.url, folder))
    assert server.requests[-1].range == "bytes=20000-"
    assert server.sent_bytes == len(ARCHIVE)
    assert left_in(folder) == ["hymenoptera_data"]


def test_a_wrong_byte_is_noticed_and_downloaded_again(server, folder):
    server.faults = [Fault("wrong_byte", len(ARCHIVE) // 2)]
    with pytest.raises(RequestError, match="is damaged") as raised:
        small(server.url, folder)
    assert f"It came from {server.url} and is deleted" in str(raised.value)
    assert not folder.parent.exists()
    assert is_whole(small(server.url, folder))
    assert [request.range for request in server.requests] == [None, None]


def test_a_page_instead_of_the_archive_is_refused(server, folder):
    server.content = b"<html>Please log in to this network</html>"
    with pytest.raises(RequestError, match="is not a zip"):
        small(server.url, folder)
    assert not folder.parent.exists()


def test_other_images_are_refused_and_nothing_is_left(server, folder):
    server.content = zip_bytes({"hymenoptera_data/train/ants/0.jpg": b"another"})
    with pytest.raises(RequestError, match="11 files missing, 1 file different") as raised:
        small(server.url, folder)
    assert "missing class folder train/bees/" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 3
    assert not folder.parent.exists()


def test_a_404_says_how_to_go_on_and_leaves_nothing(server, folder):
    server.always = Fault("status", 404)
    with pytest.raises(RequestError) as raised:
        small(server.url, folder)
    first, *rest = str(raised.value).splitlines()
    assert first == f"Could not download {server.url}: the server answers 404 Not Found."
    assert len(rest) == 2
    assert str(folder / "hymenoptera_data.zip") in rest[0]
    assert "data.source=FILE_OR_FOLDER" in rest[1]
    assert "HYMENOPTERA_SOURCE" in rest[1]
    assert not folder.parent.exists()


def test_no_network_leaves_a_folder_that_was_there(folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder.mkdir(parents=True)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/images.zip"
        with pytest.raises(RequestError, match=r"data\.source=FILE_OR_FOLDER"):
            small(url, folder)
    assert left_in(folder) == []


def test_an_archive_put_in_place_by_hand_is_used_and_kept(server, folder):
    folder.mkdir(parents=True)
    (folder / "hymenoptera_data.zip").write_bytes(ARCHIVE)
    assert is_whole(small(server.url, folder))
    assert server.requests == []
    assert left_in(folder) == ["hymenoptera_data", "hymenoptera_data.zip"]


def test_a_bad_archive_put_there_by_hand_is_not_deleted(server, folder):
    folder.mkdir(parents=True)
    (folder / "hymenoptera_data.zip").write_bytes(ARCHIVE[:20_000])
    with pytest.raises(RequestError, match="is cut short"):
        small(server.url, folder)
    assert left_in(folder) == ["hymenoptera_data.zip"]


@pytest.mark.parametrize("url", ["ftp://host/a.zip", "file:///a.zip", "s3://bucket/a.zip"])
def test_other_schemes_are_refused_even_where_the_images_are(archive, folder, url):
    small(archive, folder)
    with pytest.raises(RequestError, match="http://"):
        small(url, folder)


def processes_at_once(url: str, folder: Path, manifest: Path) -> list[str]:
    command = [sys.executable, "-c", FETCH, url, str(folder), str(manifest)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], results
    return [out.strip() for out, _ in results]


def test_two_processes_at_once_share_one_download(server, folder, tmp_path):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text(
        "".join(f"{path}\t{entry.size_bytes}\t{entry.sha256}\n" for path, entry in MANIFEST.items())
    )
    server.always = Fault("slow", 1500)  # long enough for the second process to come
    place = folder / "hymenoptera_data"
    assert processes_at_once(server.url, folder, manifest) == [str(place)] * 2
    assert is_whole(place)
    assert server.sent_bytes == len(ARCHIVE)
    assert left_in(folder) == ["hymenoptera_data"]


# from a zip


def test_a_local_zip_is_unpacked_and_kept(archive, folder):
    assert is_whole(small(archive, folder))
    assert archive.read_bytes() == ARCHIVE
    assert left_in(folder) == ["hymenoptera_data"]


def test_a_zip_of_the_inner_folders_will_do(archive, folder):
    archive.write_bytes(zip_bytes(IMAGES))
    assert is_whole(small(archive, folder))


def test_the_home_folder_is_expanded(archive, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(archive.parent))
    assert is_whole(small("~/images.zip", Path("~/data")))
    assert left_in(archive.parent) == ["data", "images.zip"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "does not exist"), (b"text", "is not a zip"), (ARCHIVE[:20_000], "is cut short")],
)
@pytest.mark.parametrize("unpacked_before", [False, True])
def test_a_bad_source_is_refused(archive, folder, content, reason, unpacked_before):
    if unpacked_before:
        small(archive, folder)
    archive.unlink()
    if content is not None:
        archive.write_bytes(content)
    with pytest.raises(RequestError, match=reason) as raised:
        small(archive, folder)
    assert str(archive) in str(raised.value)
    assert folder.parent.exists() == unpacked_before


def test_an_empty_source_does_not_mean_this_folder(folder):
    with pytest.raises(RequestError, match="does not exist"):
        small("", folder)


def test_a_damaged_zip_leaves_nothing(archive, folder):
    data = bytearray(ARCHIVE)
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(RequestError, match=r"images\.zip is damaged"):
        small(archive, folder)
    assert not folder.parent.exists()
    assert archive.exists()


def test_a_place_that_cannot_be_written_is_named(archive, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RequestError, match="cannot be put into"):
        small(archive, tmp_path / "file" / "data")


# from a folder, and again


def test_a_folder_is_used_in_place(archive, folder, tmp_path):
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(tmp_path / "unpacked")
    inner = tmp_path / "unpacked" / "hymenoptera_data"
    assert small(inner, folder) == inner
    assert small(inner.parent, folder) == inner
    assert not folder.exists()


def test_a_folder_of_something_else_is_refused(folder, tmp_path):
    (tmp_path / "own" / "cats").mkdir(parents=True)
    with pytest.raises(RequestError, match="12 files missing") as raised:
        small(tmp_path / "own", folder)
    assert "missing class folder train/ants/" in str(raised.value)
    assert "data=imagefolder data.root=DIR" in str(raised.value)


def test_an_unpacked_folder_is_verified_every_time(archive, folder):
    place = small(archive, folder)
    (place / "train" / "ants" / "0.jpg").write_bytes(b"changed")
    shutil.rmtree(place / "val" / "bees")
    with pytest.raises(RequestError) as raised:
        small(archive, folder)
    assert "3 files missing, 1 file different" in str(raised.value)
    assert "missing class folder val/bees/, different train/ants/0.jpg" in str(raised.value)
    assert f"Delete {place} to have it made again" in str(raised.value)
    shutil.rmtree(place)
    assert is_whole(small(archive, folder))


# the real archive


@pytest.fixture(scope="module")
def real_content() -> bytes:
    path = os.environ.get("HYMENOPTERA_TEST_ARCHIVE")
    if not path:
        pytest.skip("HYMENOPTERA_TEST_ARCHIVE does not name the real hymenoptera_data.zip")
    return Path(path).read_bytes()


@pytest.fixture
def real(loopback: Loopback, real_content: bytes) -> Loopback:  # noqa: F811
    loopback.content = real_content
    return loopback


@pytest.mark.real_data
def test_real_whole(real, folder):
    place = fetch(real.url, folder)
    assert len(list(place.rglob("*.jp*g"))) == 397
    assert left_in(folder) == ["hymenoptera_data"]
    assert real.sent_bytes == len(real.content)


@pytest.mark.real_data
def test_real_broken_off_and_resumed(real, folder):
    real.faults = [Fault("cut", 20_000_000)]
    real.always = Fault("status", 503)
    with pytest.raises(RequestError, match="goes on from there"):
        fetch(real.url, folder, backoff_s=0.001)
    real.always = None
    check(fetch(real.url, folder), read_manifest(MANIFEST_PATH))
    assert real.requests[-1].range == "bytes=20000000-"
    assert real.sent_bytes == len(real.content)


@pytest.mark.real_data
def test_real_wrong_byte(real, folder):
    real.faults = [Fault("wrong_byte", len(real.content) // 2)]
    with pytest.raises(RequestError, match="is damaged: its member hymenoptera_data/train/"):
        fetch(real.url, folder)
    assert not folder.parent.exists()


@pytest.mark.real_data
def test_real_404(real, folder):
    real.always = Fault("status", 404)
    with pytest.raises(RequestError, match="404 Not Found"):
        fetch(real.url, folder)
    assert not folder.parent.exists()


@pytest.mark.real_data
def test_real_two_processes_at_once(real, folder):
    real.always = Fault("slow", 1500)
    place = folder / "hymenoptera_data"
    assert processes_at_once(real.url, folder, MANIFEST_PATH) == [str(place)] * 2
    check(place, read_manifest(MANIFEST_PATH))
    assert real.sent_bytes == len(real.content)
    assert left_in(folder) == ["hymenoptera_data"]
