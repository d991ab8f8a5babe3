"""The hymenoptera images, by a real download from this machine, from a zip and from a folder."""

import hashlib
import multiprocessing
import random
import shutil
import socket
from collections import Counter
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from hymenoptera.data import HymenopteraDataModule, sources
from hymenoptera.data.manifest import Entry, differences, read_manifest, write_manifest
from hymenoptera.data.sources import fetch
from hymenoptera.errors import ConfigError, in_one_line
from loopback import Loopback, loopback, zip_bytes  # noqa: F401 - a fixture

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
        "../outside.jpg": b"a member that leads out of the folder",
    }
)


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


def is_whole(place: Path) -> bool:
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    return files == set(MANIFEST) and not differences(place, MANIFEST)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_address_is_downloaded_and_what_the_manifest_names_is_unpacked(server, folder):
    server.cut = 20_000  # the first time: it is tried again
    place = fetch(server.url, folder, MANIFEST)
    assert place == folder / "hymenoptera_data"
    assert is_whole(place)
    assert left_in(folder) == ["hymenoptera_data"]
    assert fetch(server.url, folder, MANIFEST) == place
    assert server.requests == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>Please log in to this network</html>", "is not a whole zip"),
        (ARCHIVE[:20_000], "is not a whole zip"),
        (zip_bytes({"hymenoptera_data/train/ants/0.jpg": b"other"}), "12 files are missing or dif"),
        (
            ARCHIVE.replace(IMAGES["val/bees/1.jpg"], bytes(4000)),
            "not a whole zip .*val/bees/1.jpg",
        ),
    ],
)
def test_what_is_not_the_archive_is_told_and_nothing_is_left(server, folder, content, words):
    server.content = content
    with pytest.raises(ConfigError, match=words) as raised:
        fetch(server.url, folder, MANIFEST)
    assert str(raised.value).startswith(server.url)
    assert len(str(raised.value).splitlines()) <= 3
    assert left_in(folder) == []
    server.content = ARCHIVE
    assert is_whole(fetch(server.url, folder, MANIFEST))


def test_a_404_and_no_network_say_what_to_do(server, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between two attempts
    server.status = 404
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/images.zip"
        for url, reason in (
            (server.url, "the server answers 404 Not Found"),
            (nobody, "no answer from 127.0.0.1, so there may be no network"),
            ("http://no-such-host.invalid/x.zip", "no answer from no-such-host.invalid"),
            ("s3://bucket/a.zip", "InvalidSchema: No connection adapters were found"),
        ):
            with pytest.raises(ConfigError) as raised:
                fetch(url, folder, MANIFEST)
            first, _, third = str(raised.value).splitlines()
            assert first.startswith(f"Could not download {url}: {reason}")
            assert "data.source=FILE_OR_FOLDER" in third
            assert "HYMENOPTERA_SOURCE" in third
            assert left_in(folder) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError(OSError(-2, "Name or service not known")), "Name or service not known"),
        (HTTPError("http://x", 404, "Not Found", Message(), None), "HTTP Error 404: Not Found"),
    ],
)
def test_a_failed_download_of_weights_is_told_in_plain_words(error, words):
    assert in_one_line(error) == words


def test_two_processes_at_once_share_one_download(server, folder):
    server.pause_s = 0.5  # long enough for the second process to come
    with multiprocessing.get_context("fork").Pool(2) as pool:
        places = pool.starmap(fetch, [(server.url, folder, MANIFEST)] * 2, chunksize=1)
    assert places == [folder / "hymenoptera_data"] * 2
    assert is_whole(places[0])
    assert server.requests == 1


def test_a_local_zip_is_unpacked_and_kept(archive, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(archive.parent))
    assert is_whole(fetch("~/images.zip", folder, MANIFEST))
    assert archive.read_bytes() == ARCHIVE
    assert not list(folder.parent.rglob("outside.jpg"))
    shutil.rmtree(folder)
    archive.write_bytes(zip_bytes(IMAGES))  # without the folder around
    assert is_whole(fetch(str(archive), folder, MANIFEST))


def test_a_bad_source_is_told_even_where_the_images_are(archive, folder):
    for unpacked_before in (False, True):
        archive.with_name("cut.zip").write_bytes(ARCHIVE[:20_000])
        for source, reason in (
            (str(archive.with_name("none.zip")), "does not exist"),
            ("", "does not exist"),
            (str(archive.with_name("cut.zip")), "not a whole zip"),
        ):
            with pytest.raises(ConfigError, match=reason) as raised:
                fetch(source, folder, MANIFEST)
            assert source in str(raised.value)
        assert folder.parent.exists() == unpacked_before
        fetch(str(archive), folder, MANIFEST)


def test_a_place_that_cannot_be_written_is_named(archive, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be put into"):
        fetch(str(archive), tmp_path / "file" / "data", MANIFEST)


def test_a_folder_is_used_in_place_and_verified_every_time(archive, folder):
    place = fetch(str(archive), folder, MANIFEST)
    for source in (place, folder):
        assert fetch(str(source), folder / "unused", MANIFEST) == place
    assert left_in(folder) == ["hymenoptera_data"]
    (place / "train/ants/0.jpg").write_bytes(b"changed")
    shutil.rmtree(place / "val" / "bees")
    with pytest.raises(ConfigError, match="4 files are missing or different") as raised:
        fetch(str(archive), folder, MANIFEST)
    assert f"Delete {place} to have it made again" in str(raised.value)
    with pytest.raises(ConfigError, match=r"data=imagefolder data\.root=DIR"):
        fetch(str(place), folder, MANIFEST)


def test_only_what_the_manifest_names_is_trained_on(archive, folder, monkeypatch):
    monkeypatch.setattr(sources, "official_manifest", lambda: MANIFEST)
    place = fetch(str(archive), folder, MANIFEST)
    for name in ("imageNotFound.gif", "mine.jpg", "also mine.jpg"):
        (place / "train/ants" / name).write_bytes(b"GIF89a")
    datamodule = HymenopteraDataModule(source=str(place))
    datamodule.prepare_data()
    datamodule.setup()
    assert [*datamodule.train.names, *datamodule.val.names] == sorted(MANIFEST)
    assert datamodule.classes == ["ants", "bees"]
    assert datamodule.ignored == {".gif": 1, ".jpg": 2}


def test_the_packaged_manifest_has_the_published_counts(tmp_path):
    manifest = sources.official_manifest()
    counts = Counter(path.rpartition("/")[0] for path in manifest)
    assert counts == {"train/ants": 123, "train/bees": 121, "val/ants": 70, "val/bees": 83}
    assert sum(entry.size_bytes for entry in manifest.values()) == 47_380_420
    write_manifest(tmp_path / "m.tsv", manifest)
    assert read_manifest(tmp_path / "m.tsv") == manifest


@pytest.mark.real_data
def test_the_real_archive(loopback, folder, real_archive):  # noqa: F811
    loopback.content = real_archive.read_bytes()
    place = fetch(loopback.url, folder, sources.official_manifest())
    assert len([path for path in place.rglob("*") if path.is_file()]) == 397
