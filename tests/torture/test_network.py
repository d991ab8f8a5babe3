"""A network that fails in every way: whole at last, or a line that says why; never a half."""

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hymenoptera.data.hymenoptera import fetch
from hymenoptera.data.manifest import Entry
from hymenoptera.download import DownloadError, download
from hymenoptera.errors import RequestError
from loopback import Fault, Loopback, loopback, zip_bytes  # noqa: F401 - a fixture

PICTURES = {
    f"{part}/{name}/{n}.jpg": random.Random(f"{part}{name}{n}").randbytes(4000)
    for part in ("train", "val")
    for name in ("ants", "bees")
    for n in range(5)
}
MANIFEST = {k: Entry(len(v), hashlib.sha256(v).hexdigest()) for k, v in PICTURES.items()}
CONTENT = zip_bytes(PICTURES)


@pytest.fixture
def server(loopback: Loopback) -> Loopback:  # noqa: F811
    loopback.content = CONTENT
    return loopback


def quick(server: Loopback, target: Path, **options: float) -> Path:
    return download(server.url, target, **{"backoff_s": 0.001, "timeout_s": 5, **options})


def test_a_download_cut_at_every_tenth(
    server: Loopback, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """One call goes on by itself; a call that gives up leaves a part for the next one."""
    for tenth in range(10):
        server.faults = [Fault("cut", len(CONTENT) * tenth // 10)]
        place = tmp_path / f"at once {tenth}"
        assert quick(server, place / "file").read_bytes() == CONTENT
        assert [p.name for p in place.iterdir()] == ["file"]

        server.faults = [Fault("cut", len(CONTENT) * tenth // 10)]
        place = tmp_path / f"in two calls {tenth}"
        with pytest.raises(DownloadError, match="broke off"):
            quick(server, place / "file", attempts=1)
        assert not (place / "file").exists()
        before = server.sent_bytes
        assert quick(server, place / "file").read_bytes() == CONTENT
        assert server.sent_bytes - before == len(CONTENT) - len(CONTENT) * tenth // 10
    record_property("tried", 20)


def test_a_data_set_cut_at_every_tenth(
    server: Loopback, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    for tenth in range(1, 10):
        server.faults = [Fault("cut", len(CONTENT) // 10)] * tenth
        folder = tmp_path / str(tenth)
        try:
            root = fetch(server.url, folder, manifest=MANIFEST, backoff_s=0.001)
        except RequestError as error:  # after four attempts, here of a tenth each
            assert "The same command goes on from there" in str(error)
            assert {p.name for p in folder.iterdir()} == {
                *("hymenoptera_data.zip.part", "hymenoptera_data.zip.part.json")
            }
            server.faults = []
            root = fetch(server.url, folder, manifest=MANIFEST, backoff_s=0.001)
        found = {k: (root / k).read_bytes() for k in MANIFEST}
        assert found == PICTURES
        assert [p.name for p in folder.iterdir()] == ["hymenoptera_data"]
    record_property("tried", 9)


def test_a_byte_now_and_then_is_no_progress(server: Loopback, tmp_path: Path) -> None:
    server.always = Fault("drip", 20)
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"only \d+ bytes came in 0\.3 s"):
        quick(server, tmp_path / "file", timeout_s=0.3, attempts=2)
    assert 0.6 <= time.monotonic() - began < 60
    assert not (tmp_path / "file").exists()


def test_a_server_that_never_answers(server: Loopback, tmp_path: Path) -> None:
    server.always = Fault("stall", 0)
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"nothing came from 127\.0\.0\.1 for 0\.2 s"):
        quick(server, tmp_path / "place" / "file", timeout_s=0.2, attempts=2)
    assert time.monotonic() - began < 60
    assert not (tmp_path / "place").exists()


def test_a_wrong_length(server: Loopback, tmp_path: Path) -> None:
    """Longer than what comes: it broke off. Shorter: the manifest notices."""
    server.always = Fault("length", 1000)
    with pytest.raises(DownloadError, match=r"broke off at|416 Requested Range"):
        quick(server, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    server.always = Fault("length", -1000)
    folder = tmp_path / "data"
    with pytest.raises(RequestError, match="cut short or damaged"):
        fetch(server.url, folder, manifest=MANIFEST, backoff_s=0.001)
    assert not folder.exists()


def test_wrong_content(
    server: Loopback, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """Any flipped byte, another archive, a page instead: refused, and nothing is left."""
    other = zip_bytes({**PICTURES, "train/ants/0.jpg": b"another picture"})
    wrong = [other, CONTENT[::-1], b"<html>Log in to the network</html>", b""]
    for place in range(40, len(CONTENT), len(CONTENT) // 12):
        wrong.append(CONTENT[:place] + bytes([CONTENT[place] ^ 0xFF]) + CONTENT[place + 1 :])
    folder = tmp_path / "data"
    for content in wrong:
        server.content = content
        with pytest.raises(RequestError) as raised:
            fetch(server.url, folder, manifest=MANIFEST, backoff_s=0.001)
        assert len(str(raised.value).splitlines()) <= 3
        assert not folder.exists()
    record_property("tried", len(wrong))


def test_a_redirect_loop(server: Loopback, tmp_path: Path) -> None:
    server.always = Fault("redirect")
    with pytest.raises(DownloadError, match=r"redirects .302. in a circle") as raised:
        quick(server, tmp_path / "place" / "file")
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "place").exists()


def test_500_then_200(
    server: Loopback, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    for number, status in enumerate((500, 502, 503, 504, 429)):
        server.faults = [Fault("status", status)]
        assert quick(server, tmp_path / str(number)).read_bytes() == CONTENT
    record_property("tried", 5)
