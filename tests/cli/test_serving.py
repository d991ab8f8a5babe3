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
from fastapi.testclient import TestClient
from PIL import Image

from conftest import Ended, start, wait_for
from hymenoptera.cli.explanation import Explainer, Explanation
from hymenoptera.cli.serving import MAX_BYTES, TYPE, build_app
from hymenoptera.models import Predictor
from hymenoptera.models.predictor import NEAREST
from hymenoptera.reports.images import data_uri

DESCRIPTION: dict[str, Any] = {
    "data": {"classes": ["<ant>", "bee"]},
    "model": {"backbone": "resnet18"},
    "accuracy": 0.948,
}


def explain(image: Image.Image) -> Explanation:
    small = data_uri(image.resize((32, 32)))
    shown = (small, small, [(small, "bee, 0.98")])
    return Explanation([("bee", 0.75), ("<ant>", 0.25)], True, 0.4, *shown)


def client() -> TestClient:
    return TestClient(build_app(explain, DESCRIPTION))


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
    assert f"maxBytes = {MAX_BYTES}" in response.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (file("PNG", 10_000, 10_000), "more than 89 million"),
        (b"no image", "of no format"),
        (file("PNG", 40, 40)[:60], "cannot be read as an image"),
        (file("EPS", 40, 40), "of no format"),  # Pillow would run Ghostscript on it
    ],
    ids=["pixels", "text", "torn", "eps"],
)
def test_what_is_no_image_is_answered_with_the_reason(content: bytes, reason: str) -> None:
    response = post(client(), content)
    assert response.status_code == 422
    assert reason in response.json()["detail"]


def test_only_such_a_page_can_send_images() -> None:
    """A form on another site sends no octet stream, and no file is longer than is said."""
    assert post(client(), file("PNG", 40, 40), "text/plain").status_code == 415
    assert post(client(), bytes(MAX_BYTES + 1)).status_code == 413
    assert client().get("/predict").status_code == 405
    assert client().get("/../etc/hostname").status_code == 404
    assert client().get("/docs").status_code == 404


def test_a_port_in_use_is_told(finished_run: Path, hymenoptera: Callable[..., Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = hymenoptera("serve", str(finished_run), "--port", str(taken.getsockname()[1]))
    assert ended.status == 2
    assert "Address already in use" in ended.err and len(ended.err.splitlines()) == 1


def test_an_explanation_shows_the_nearest_training_images(
    best: Path, images: Path, predictor: Predictor
) -> None:
    """A training image is its own nearest one."""
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


def test_without_the_training_images_the_rest_is_shown(
    tmp_path: Path, moved: Callable[[Path], Path], images: Path
) -> None:
    explainer = Explainer(moved(tmp_path / "gone"), "cpu")
    explanation = explainer(Image.open(images / "val/ash/000.png"))
    assert [address for address, _ in explanation.nearest] == [""] * NEAREST
    assert len(explanation.probabilities) == 3 and explanation.is_familiar


def test_the_command_serves_this_machine_alone_until_it_is_told_to_end(
    tmp_path: Path, finished_run: Path, images: Path
) -> None:
    """A real server: uvicorn, a real socket, a real signal."""
    with socket.create_server(("127.0.0.1", 0)) as free:
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
