"""`hymenoptera serve`: what is shown of a picture, over HTTP and in a real browser."""

import base64
import io
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from browser import Browser
from conftest import Ended, start
from hymenoptera.errors import RequestError
from hymenoptera.looking import NEAREST, Looker
from hymenoptera.predictor import load_predictor


def test_what_is_shown_of_a_picture(
    tmp_path: Path, finished_run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training picture is its own nearest one; embeddings are computed once."""
    monkeypatch.chdir(tmp_path)  # the cache of features lies below
    checkpoint = finished_run / "checkpoints" / "best.ckpt"
    picture = pictures / "train/birch/003.png"
    look = Looker(checkpoint, "cpu")
    assert look.missing is None
    answer = look(picture)
    assert answer.shares == load_predictor(checkpoint, "cpu").predict(picture)[0].probabilities
    assert answer.seen.size == answer.heat.size == (32, 32)
    captions = [caption for _, caption in answer.nearest]
    assert len(captions) == NEAREST and captions[0] == "birch, 1.00"
    similarities = [float(caption.split(", ")[1]) for caption in captions]
    assert similarities == sorted(similarities, reverse=True) and similarities[-1] < 1
    (kept,) = tmp_path.rglob("*.safetensors")
    written = kept.stat().st_mtime_ns
    assert [c for _, c in Looker(checkpoint, "cpu")(picture).nearest] == captions
    assert kept.stat().st_mtime_ns == written
    with pytest.raises(RequestError, match="cannot be read as a picture"):
        look(Path(__file__))


def test_without_the_training_pictures_the_rest_is_shown(
    tmp_path: Path, finished_run: Path, pictures: Path
) -> None:
    content = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    content["hymenoptera"]["data"]["root"] = str(tmp_path / "gone")
    torch.save(content, tmp_path / "moved.ckpt")
    look = Looker(tmp_path / "moved.ckpt", "cpu")
    assert look.missing == f"The run's pictures are no longer in {tmp_path / 'gone'}."
    answer = look(pictures / "val/ash/000.png")
    assert answer.nearest == [] and len(answer.shares) == 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Iterator[str]:
    """The address of a page that takes files of half a megabyte and a megapixel."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = ("--max-mb", "0.5", "--max-megapixels", "1")
    command = ("serve", str(finished_run), "--port", str(port), *limits)
    process = start("hymenoptera", command, folder, {})
    said = folder / "err.txt"
    end = time.monotonic() + 120
    while not (said.exists() and "http://" in said.read_text()):
        assert process.is_alive() and time.monotonic() < end, said.read_text()
        time.sleep(0.2)
    address = f"http://127.0.0.1:{port}"
    assert said.read_text().splitlines()[-1].startswith(address)
    yield address
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=180)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, said.read_text()
    assert said.read_text().splitlines() == [f"{address}    Ctrl-C ends it"]


def ask(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """A request's status and answer; headers override the usual ones."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    usual = {"Content_Type": "application/octet-stream", "Content_Length": str(len(body))}
    given = {name.replace("_", "-"): value for name, value in (usual | headers).items()}
    connection.request(method, path, body or None, given)
    response = connection.getresponse()
    content = response.read()
    is_json = response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(content) if is_json else content.decode()


def decoded(address: str) -> Image.Image:
    kind, _, text = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_over_http(served: str, finished_run: Path, pictures: Path) -> None:
    picture = pictures / "val/cedar/002.png"
    status, found = ask(served, "POST", "/look", picture.read_bytes())
    assert status == 200
    (expected,) = load_predictor(finished_run, "cpu").predict(picture)
    assert [name for name, _ in found["shares"]] == list(expected.probabilities)
    assert dict(found["shares"]) == pytest.approx(expected.probabilities, abs=1e-6)
    assert len(found["nearest"]) == NEAREST
    assert decoded(found["seen"]).size == decoded(found["heat"]).size == (32, 32)


def test_what_is_too_large_or_no_picture_is_refused(served: str) -> None:
    def file(form: str, *size: int) -> bytes:
        content = io.BytesIO()
        Image.new("RGB", size).save(content, form)
        return content.getvalue()

    for content, reason in (
        (file("PNG", 1200, 1200), "1200 x 1200 pixels are too many: 1 million are taken."),
        (b"no picture", "of no format that Pillow reads"),
        (file("PNG", 40, 40)[:60], "truncated"),
        (file("EPS", 40, 40), "of no format"),  # Pillow would run Ghostscript on it
    ):
        status, found = ask(served, "POST", "/look", content)
        assert status == 422 and reason in found["error"], found
    assert ask(served, "POST", "/look", Content_Length="500001")[0] == 413
    assert ask(served, "POST", "/look", Content_Length="-1")[0] == 411


def test_it_answers_this_machine_alone(served: str) -> None:
    """Nothing listens on another address; neither another site's script nor name gets through."""
    port = int(served.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    assert ask(served, "GET", "/")[0] == 200
    assert ask(served, "GET", "/", Host=f"evil.example:{port}")[0] == 403
    assert ask(served, "POST", "/look", b"x", Host=f"evil.example:{port}")[0] == 403
    assert ask(served, "POST", "/look", b"x", Content_Type="text/plain")[0] == 415
    assert ask(served, "GET", "/../etc/hostname")[0] == 404


def test_a_port_that_is_taken_is_refused_at_once(
    hymenoptera: Callable[..., Ended], finished_run: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = hymenoptera("serve", str(finished_run), "--port", port)
    assert ended.status == 2
    assert ended.err == (
        f"127.0.0.1, port {port}: Address already in use. Choose with --host and --port.\n"
    )


@pytest.mark.parametrize("width_px", [400, 1600])
def test_in_a_browser(
    served: str, finished_run: Path, pictures: Path, tmp_path: Path, width_px: int
) -> None:
    """A picture is chosen; classes, heat and nearest pictures appear; then one that is none."""
    picture = pictures / "val/birch/001.png"
    (expected,) = load_predictor(finished_run, "cpu").predict(picture)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "large.png").write_bytes(os.urandom(600_000))
    with Browser(tmp_path, width_px) as browser:
        browser.open(served)
        browser.wait_for("document.querySelector('input[type=file]')?.ariaLabel")
        browser.choose_file("input[type=file]", picture)
        browser.wait_for("!document.getElementById('answer').hidden")
        browser.wait_for("[...document.images].every((image) => image.complete)")
        shown = browser.value("document.getElementById('shares').innerText")
        first, second = list(expected.probabilities.items())[:2]
        for name, share in (first, second):
            assert f"{name}\n{100 * share:.1f} %" in shown
        assert browser.value("document.querySelectorAll('#nearest img').length") == NEAREST
        assert browser.value("[...document.images].every((image) => image.naturalWidth)")
        assert browser.value("document.documentElement.scrollWidth <= window.innerWidth")
        for name, reason in (("text.png", "no format"), ("large.png", "too large")):
            browser.choose_file("input[type=file]", tmp_path / name)
            said = f"document.getElementById('said').innerText.includes('{reason}')"
            browser.wait_for(said)
            assert browser.value("document.getElementById('answer').hidden")
        outside = [a for a in browser.requests if not a.startswith((f"{served}/", "data:"))]
        assert outside == []
