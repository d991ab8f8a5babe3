"""A web server on this machine for the tests of downloading: one file, and faults on request."""

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pytest

Kind = Literal[
    *("cut", "status", "wrong_byte", "no_range", "wrong_range", "stall", "slow"),
    *("drip", "redirect", "length"),
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    cut: the connection is closed after `value` bytes; stall: nothing more comes after them.
    status: the answer has this status. wrong_byte: the byte at this place is flipped.
    no_range: `Range` is ignored. wrong_range: the answer begins `value` bytes too late.
    slow: a pause in the middle of the answer, of `value` milliseconds.
    drip: one byte every `value` milliseconds. redirect: to the same address again.
    length: the header promises `value` bytes more than there are.
    """

    kind: Kind
    value: int = 0


@dataclass
class Request:
    """A request as it came, and what was answered."""

    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent_bytes: int = 0


@dataclass
class Loopback:
    """The server: its content and version may be changed at any time.

    `faults` are used up one a request; `always` holds for every request after them.
    """

    content: bytes = b""
    etag: str | None = '"1"'
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent_bytes(self) -> int:
        return sum(request.sent_bytes for request in self.requests)

    def next_fault(self, request: Request) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            return self.faults.pop(0) if self.faults else self.always


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        loop = self.loopback
        request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
        fault = loop.next_fault(request) or Fault("slow", 0)
        if fault.kind == "status":
            request.status = fault.value
            self.send_response(fault.value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault.kind == "redirect":
            request.status = 302
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = bytearray(loop.content)
        if fault.kind == "wrong_byte":
            body[fault.value] ^= 0xFF
        start = self._start(request, fault)
        if start >= len(body) > 0:
            request.status = 416
            self.send_error(416)
            return
        self._head(request, start, len(body) + fault.value * (fault.kind == "length"))
        self._send(request, bytes(body[start:]), fault)

    def _start(self, request: Request, fault: Fault) -> int:
        same = request.if_range in (None, self.loopback.etag)
        if not request.range or not same or fault.kind == "no_range":
            return 0
        late = fault.value if fault.kind == "wrong_range" else 0
        return int(request.range.removeprefix("bytes=").removesuffix("-")) + late

    def _head(self, request: Request, start: int, size: int) -> None:
        request.status = 206 if start else 200
        self.send_response(request.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.loopback.etag:
            self.send_header("ETag", self.loopback.etag)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()

    def _send(self, request: Request, body: bytes, fault: Fault) -> None:
        stop = {"cut": fault.value, "stall": fault.value, "slow": len(body) // 2}
        end = min(stop.get(fault.kind, len(body)), len(body))
        try:
            if fault.kind == "drip":
                for byte in body[:end]:
                    self._write(request, bytes([byte]))
                    if self.loopback.stopped.wait(fault.value / 1000):
                        break
                return
            self._write(request, body[:end])
            if fault.kind == "stall":
                self.loopback.stopped.wait()
            elif fault.kind != "cut":
                self.loopback.stopped.wait(fault.value / 1000 * (fault.kind == "slow"))
                self._write(request, body[end:])
        except ConnectionError:  # the other side has had enough
            pass
        self.close_connection = True

    def _write(self, request: Request, data: bytes) -> None:
        request.sent_bytes += len(data)  # first: the other side may have it all at once
        self.wfile.write(data)
        self.wfile.flush()


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


def zip_bytes(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Pack files into a zip in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return buffer.getvalue()
