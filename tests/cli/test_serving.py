"""`hymenoptera serve`: what the page and its server answer."""

import base64
import io
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from conftest import start, wait_for
from hymenoptera.cli.checkpoints import listen
from hymenoptera.cli.explanation import NEAREST, Explainer, Explanation
from hymenoptera.cli.serving import TYPE, build_app
from hymenoptera.errors import ConfigError
from hymenoptera.models import Predictor
from hymenoptera.reports.images import data_uri

DESCRIPTION: dict[str, Any] = {
    "data": {"classes": ["<ant>", "bee"]},
    "model": {"backbone": "resnet18"},
    "accuracy": 0.948,
}


def explain(image: Image.Image) -> Explanation:
    small = data_uri(image.resize((32, 32)))
    return Explanation([("bee", 0.75), ("<ant>", 0.25)], small, small, [(small, "bee, 0.98")])


def client(explained: Callable[[Image.Image], Explanation] = explain, **limits: int) -> TestClient:
    limits = {"max_bytes": 500_000, "max_pixels": 1_000_000} | limits
    return TestClient(build_app(explained, DESCRIPTION, **limits), raise_server_exceptions=False)


def file(form: str, *size: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size).save(content, form)
    return content.getvalue()


def post(client: TestClient, content: bytes, kind: str = TYPE) -> Any:
    return client.post("/predict", content=content, headers={"Content-Type": kind})


def decoded(address: str) -> Image.Image:
    kind, _, text = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_page_needs_nothing_from_elsewhere() -> None:
    response = client().get("/")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "&lt;ant&gt;, bee" in response.text and "<ant>" not in response.text
    assert "resnet18, 94.8 %" in response.text
    assert "http" not in response.text
    assert "maxBytes = 500000" in response.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (file("PNG", 1200, 1200), "image: 1200 x 1200 pixels are too many, 1 million are taken."),
        (b"no image", "of no format"),
        (b"", "of no format"),
        (file("PNG", 40, 40)[:60], "cannot be read as an image"),
        (file("EPS", 40, 40), "of no format"),  # Pillow would run Ghostscript on it
    ],
    ids=["pixels", "text", "empty", "torn", "eps"],
)
def test_what_is_no_image_is_answered_with_the_reason(content: bytes, reason: str) -> None:
    response = post(client(), content)
    assert response.status_code == 422
    assert reason in response.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 503),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), 503),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."), 503),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 500),
    ],
    ids=["python", "gpu", "cpu", "program"],
)
def test_out_of_memory_is_not_an_unreadable_image(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Fault 28: neither while it is explained nor while it is decoded."""

    def fail(*_: Any) -> Any:
        raise error

    assert post(client(fail), file("PNG", 40, 40)).status_code == status
    content = file("PNG", 40, 40)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail, raising=False)
    assert post(client(), content).status_code == (status if status == 503 else 422)


def test_only_such_a_page_can_send_images() -> None:
    """A form on another site sends no octet stream, and no file is longer than is said."""
    assert post(client(), file("PNG", 40, 40), "text/plain").status_code == 415
    assert post(client(max_bytes=100), file("BMP", 40, 40)).status_code == 413
    assert client().get("/predict").status_code == 405
    assert client().get("/../etc/hostname").status_code == 404
    assert client().get("/docs").status_code == 404


def test_a_port_in_use_is_told() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port}: Address already in use\."):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="Choose with --host and --port"):
        listen("no-such-host.invalid", 0)


def test_an_explanation_shows_the_nearest_training_images(
    tmp_path: Path, best: Path, images: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training image is its own nearest one; embeddings are computed once."""
    monkeypatch.chdir(tmp_path)  # the cache of features lies below
    path = images / "train/birch/003.png"
    explainer = Explainer(best, "cpu")
    assert explainer.missing is None
    explanation = explainer(Image.open(path))
    (prediction,) = predictor.predict(path)
    assert dict(explanation.probabilities) == pytest.approx(prediction.probabilities, abs=1e-6)
    images = [explanation.seen, explanation.heat_map, explanation.nearest[0][0]]
    assert [decoded(image).size for image in images] == [(32, 32), (32, 32), (48, 40)]
    captions = [caption for _, caption in explanation.nearest]
    assert len(captions) == NEAREST and captions[0] == "birch, 1.00"
    similarities = [float(caption.split(", ")[1]) for caption in captions]
    assert similarities == sorted(similarities, reverse=True) and similarities[-1] < 1
    monkeypatch.setattr("hymenoptera.cli.explanation.embed", None)
    assert [c for _, c in Explainer(best, "cpu")(Image.open(path)).nearest] == captions


def test_without_the_training_images_the_rest_is_shown(
    tmp_path: Path, moved: Callable[[Path], Path], images: Path
) -> None:
    explainer = Explainer(moved(tmp_path / "gone"), "cpu")
    assert explainer.missing == f"The run's images are no longer in {tmp_path / 'gone'}."
    explanation = explainer(Image.open(images / "val/ash/000.png"))
    assert explanation.nearest == [] and len(explanation.probabilities) == 3


def test_the_command_serves_this_machine_alone_until_it_is_told_to_end(
    tmp_path: Path, finished_run: Path, images: Path
) -> None:
    """A real server: uvicorn, a real socket, a real signal."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = ("serve", str(finished_run), "--port", str(port), "--device", "cpu")
    process = start("hymenoptera", command, tmp_path, {})
    shown, address = tmp_path / "err.txt", f"http://127.0.0.1:{port}"
    wait_for(lambda: shown.exists() and "http://" in shown.read_text(), process)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    assert httpx.get(address).status_code == 200
    other = {"Host": f"evil.example:{port}"}  # a name that another site has made point here
    assert httpx.get(address, headers=other).status_code == 400
    content = (images / "val/cedar/002.png").read_bytes()
    headers = {"Content-Type": TYPE}
    answer = httpx.post(f"{address}/predict", content=content, headers=headers, timeout=60)
    assert sum(p for _, p in answer.json()["probabilities"]) == pytest.approx(1)
    assert len(answer.json()["nearest"]) == NEAREST and decoded(answer.json()["seen"])
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(timeout=60)
    assert process.exitcode == 0
    assert shown.read_text() == f"{address}    Ctrl-C ends it\n"
