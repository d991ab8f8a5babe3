import hashlib
import logging
import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hymenoptera.download import DownloadError, download
from hymenoptera.errors import RequestError
from loopback import Fault, Loopback, loopback  # noqa: F401 - a fixture

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(loopback: Loopback) -> Loopback:  # noqa: F811
    loopback.content = CONTENT
    return loopback


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def quick(url: str, target: Path, **options) -> Path:
    return download(url, target, **{"backoff_s": 0.001, "timeout_s": 5, **options})


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_whole_file_arrives_and_nothing_else_is_left(server, target):
    assert quick(server.url, target, sha256_prefix=SHA256[:8]) == target
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file.bin"]
    assert [request.range for request in server.requests] == [None]


def test_a_target_that_is_there_needs_no_request(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    quick(server.url, target)
    quick(server.url, target, sha256_prefix=SHA256[:8].upper())
    assert server.requests == []


def test_a_target_with_the_wrong_hash_is_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(b"old")
    quick(server.url, target, sha256_prefix=SHA256[:8])
    assert target.read_bytes() == CONTENT


def test_a_cut_connection_is_resumed_within_a_call(server, target, caplog):
    server.faults = [Fault("cut", 100_000), Fault("cut", 50_000)]
    with caplog.at_level(logging.INFO, logger="hymenoptera.download"):
        quick(server.url, target)
    assert target.read_bytes() == CONTENT
    assert [request.range for request in server.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert [request.if_range for request in server.requests] == [None, '"1"', '"1"']
    assert [request.status for request in server.requests] == [200, 206, 206]
    assert server.sent_bytes == len(CONTENT)
    assert "broke off at 0.1 of 0.3 MB; trying again (2/4)" in caplog.text


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, target):
    server.faults = [Fault("cut", 120_000), Fault("status", 503)]
    with pytest.raises(DownloadError, match="503 Service Unavailable"):
        quick(server.url, target, attempts=2)
    assert left_in(target.parent) == ["file.bin.part", "file.bin.part.json"]
    assert target.with_name("file.bin.part").read_bytes() == CONTENT[:120_000]

    quick(server.url, target)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1].range == "bytes=120000-"
    assert server.requests[-1].sent_bytes == len(CONTENT) - 120_000
    assert left_in(target.parent) == ["file.bin"]


def test_a_part_that_is_whole_needs_no_request(server, target):
    server.faults = [Fault("cut", 120_000)]
    with pytest.raises(DownloadError):
        quick(server.url, target, attempts=1)
    target.with_name("file.bin.part").write_bytes(CONTENT)
    quick(server.url, target, sha256_prefix=SHA256[:8])
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_file_that_changed_meanwhile_is_fetched_afresh(server, target):
    server.faults = [Fault("cut", 120_000)]
    with pytest.raises(DownloadError):
        quick(server.url, target, attempts=1)
    server.content, server.etag = CONTENT[::-1], '"2"'
    quick(server.url, target)
    assert server.requests[-1].if_range == '"1"'
    assert server.requests[-1].status == 200
    assert target.read_bytes() == CONTENT[::-1]


def test_a_shorter_file_without_a_version_is_fetched_afresh(server, target):
    server.etag = None
    server.faults = [Fault("cut", 120_000)]
    with pytest.raises(DownloadError):
        quick(server.url, target, attempts=1)
    server.content = CONTENT[:1000]
    quick(server.url, target)
    assert [request.status for request in server.requests] == [200, 416, 200]
    assert target.read_bytes() == CONTENT[:1000]


def test_a_part_of_another_address_is_not_gone_on_with(server, target):
    server.faults = [Fault("cut", 120_000)]
    with pytest.raises(DownloadError):
        quick(server.url, target, attempts=1)
    quick(server.url + "?other", target)
    assert server.requests[-1].range is None
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("notes", ["", "[]", '{"url": 1, "no": 2}'])
def test_a_part_with_broken_notes_is_fetched_afresh(server, target, notes):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(b"x" * 100)
    target.with_name("file.bin.part.json").write_text(notes)
    quick(server.url, target)
    assert server.requests[0].range is None
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["no_range", "wrong_range"])
def test_a_server_that_resumes_wrongly_does_no_harm(server, target, kind):
    server.faults = [Fault("cut", 100_000), Fault(kind, 7)]
    quick(server.url, target)
    assert server.requests[1].range == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_a_stalled_connection_is_resumed(server, target):
    server.faults = [Fault("stall", 70_000)]
    quick(server.url, target, timeout_s=0.2)
    assert [request.range for request in server.requests] == [None, "bytes=70000-"]
    assert target.read_bytes() == CONTENT


def test_a_slow_connection_is_waited_for(server, target):
    server.faults = [Fault("slow", 300)]
    quick(server.url, target, timeout_s=2)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_trouble_is_waited_out(server, target, status):
    server.faults = [Fault("status", status)]
    quick(server.url, target)
    assert [request.status for request in server.requests] == [status, 200]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "phrase"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")]
)
def test_a_refusal_is_final_and_leaves_nothing(server, target, status, phrase):
    server.always = Fault("status", status)
    with pytest.raises(DownloadError) as raised:
        quick(server.url, target)
    assert str(raised.value) == f"Could not download {server.url}: the server answers {phrase}."
    assert len(server.requests) == 1
    assert not target.parent.exists()


def test_attempts_are_counted_and_pauses_double(server, target, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr("hymenoptera.download.time.sleep", pauses.append)
    server.always = Fault("status", 500)
    with pytest.raises(DownloadError, match="500 Internal Server Error"):
        download(server.url, target)
    assert len(server.requests) == 4
    assert pauses == [0.5, 1, 2]


def test_a_wrong_byte_is_noticed_and_not_kept(server, target):
    server.faults = [Fault("wrong_byte", 150_000)]
    with pytest.raises(DownloadError, match=f"SHA-256 .* does not begin with {SHA256[:8]}"):
        quick(server.url, target, sha256_prefix=SHA256[:8])
    assert not target.parent.exists()
    quick(server.url, target, sha256_prefix=SHA256[:8])
    assert server.requests[-1].range is None
    assert target.read_bytes() == CONTENT


def test_nobody_listening_leaves_nothing(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=r"no connection to 127\.0\.0\.1 \(.*refused\)"):
            quick(url, target)
    assert not target.parent.exists()


def test_no_network_is_said_plainly(target, monkeypatch):
    def no_names(*_args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    with pytest.raises(DownloadError, match=r"no address is known for files\.example, so"):
        quick("https://files.example/file", target)
    assert not target.parent.exists()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/file", "http://", "host/file", "http://host:x/", ""]
)
def test_other_addresses_are_refused(target, url):
    with pytest.raises(RequestError):
        quick(url, target)
    assert not target.parent.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DownloadError, match=r"Could not save .* Permission denied"):
        quick(server.url, tmp_path / "sub" / "file")


def test_a_file_in_the_way_of_a_folder_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DownloadError, match="Could not save"):
        quick(server.url, tmp_path / "cache" / "file.bin")
    assert server.requests == []


def test_calls_at_once_share_one_download(server, target):
    server.always = Fault("slow", 200)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(quick, server.url, target) for _ in range(4)]:
            assert done.result().read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert left_in(target.parent) == ["file.bin"]


def test_calls_at_once_all_fail_cleanly(server, target):
    server.always = Fault("status", 404)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(quick, server.url, target) for _ in range(4)]:
            assert isinstance(done.exception(), DownloadError)
            assert "404" in str(done.exception())
    assert not target.exists()
    assert left_in(target.parent) == []
