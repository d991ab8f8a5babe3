"""A web server on this machine for the tests of downloading: one file, and faults on request."""

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Loopback:
    """The server; its content and its faults may be changed at any time.

    Attributes:
        content: what it answers.
        status: with which it answers.
        cut: after so many bytes the first answer is cut off; None for never.
        pause_s: in the middle of an answer.
        requests: how many there were.
    """

    content: bytes = b""
    status: int = 200
    cut: int | None = None
    pause_s: float = 0.0
    requests: int = 0
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        loop = self.loopback
        loop.requests += 1
        body = loop.content if loop.status == 200 else b""
        self.send_response(loop.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, loop.cut = loop.cut, None
        self.wfile.write(body[: len(body) // 2 if cut is None else cut])
        self.wfile.flush()
        if cut is None:
            loop.stopped.wait(loop.pause_s)
            self.wfile.write(body[len(body) // 2 :])
        self.close_connection = True


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    loop = Loopback()
    handler = type("Handler", (_Handler,), {"loopback": loop})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    loop.url = f"http://127.0.0.1:{server.server_port}/files/hymenoptera_data.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield loop
    loop.stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Pack files into a zip in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()
