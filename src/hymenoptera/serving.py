"""`hymenoptera serve`: a page on which a picture is dropped and looked at.

It needs nothing but Python's own HTTP server, and asks nobody but that for anything.
"""

import io
import json
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from hymenoptera.data.pictures import UNREADABLE, why_unreadable
from hymenoptera.errors import RequestError
from hymenoptera.results.page import begin_page, end_page, escape
from hymenoptera.results.pictures import data_uri

if TYPE_CHECKING:  # torch comes when it is known that there is a place to listen at
    from hymenoptera.looking import Sight

FIRST_PORT, LAST_PORT = 7860, 7959  # of which one is taken where nobody says
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")  # none runs a program
POLICY = (
    "default-src 'none'; img-src data: blob:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
TYPE = "application/octet-stream"  # browsers let no other site send that here


class Server(ThreadingHTTPServer):
    """Answers GET / with the page, and POST /look with what there is to see of a picture.

    Attributes:
        address: where the page is.
        page: the page.
        look: looks at a picture; a RequestError is what it says of one that it cannot read.

    Args:
        host: the address to listen on.
        port: to listen on; None for the first that is free, from FIRST_PORT.
        largest_bytes: of a file.
        largest_pixels: of a picture.

    Raises:
        RequestError: it cannot listen there.
    """

    daemon_threads = True
    page: str
    look: "Callable[[Image.Image], Sight]"

    def __init__(
        self, host: str, port: int | None, largest_bytes: int, largest_pixels: int
    ) -> None:
        Image.init()  # all formats, those that it does not know yet included
        self.largest_bytes = largest_bytes
        self.largest_pixels = largest_pixels
        self._one_at_a_time = threading.Lock()
        ports = [port] if port is not None else [*range(FIRST_PORT, LAST_PORT + 1)]
        for tried in ports:
            try:
                super().__init__((host, tried), _Handler)
                break
            except OSError as error:
                if tried == ports[-1]:
                    raise RequestError(
                        f"{host}, port {tried}: {error.strerror}. Choose with --host and --port."
                    ) from error
        self.address = f"http://{host}:{self.server_port}"
        own = ("127.0.0.1", "localhost")
        # a name that some other site has made point here is not one of its own
        self.names = [f"{name}:{self.server_port}" for name in own] if host in own else None

    def serve(self, look: "Callable[[Image.Image], Sight]", page: str) -> None:
        """Answer until Ctrl-C, or until the process is told to end as a container's is."""
        self.look, self.page = look, page
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of pictures that it reads all the same
        with self, suppress(KeyboardInterrupt):
            self.serve_forever()

    def answer(self, content: bytes) -> dict[str, Any]:
        """What there is to see of a picture, for the page.

        Args:
            content: of the picture's file.

        Raises:
            RequestError: it is no picture, or too large a one.
        """
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > self.largest_pixels:
                    raise RequestError(
                        f"{width} x {height} pixels are too many: "
                        f"{self.largest_pixels / 1e6:g} million are taken."
                    )
                with self._one_at_a_time:
                    sight = self.look(picture)
        except UNREADABLE as error:
            reason = why_unreadable(error, Path())
            raise RequestError(f"This cannot be read as a picture: {reason}.") from error
        return {
            "shares": [[name, share] for name, share in sight.shares.items()],
            "seen": data_uri(sight.seen),
            "heat": data_uri(sight.heat),
            "nearest": [[data_uri(image), line] for image, line in sight.nearest],
        }


def build_page(facts: dict[str, Any], largest_bytes: int) -> str:
    """The page, whole: it holds its style and its script.

    Args:
        facts: of the checkpoint, from `show.describe`.
        largest_bytes: of a file, beyond which the page does not send it.
    """
    classes = facts["data"]["classes"]
    title = ", ".join(classes[:6]) + f" and {len(classes) - 6} more" * (len(classes) > 6)
    judged = ""
    if facts["accuracy"] is not None:
        judged = f", {100 * facts['accuracy']:.1f} % of its validation pictures right"
    assets = files("hymenoptera.results")
    body = assets.joinpath("serving.html").read_text(encoding="utf-8")
    script = assets.joinpath("serving.js").read_text(encoding="utf-8")
    return "\n".join(
        [
            begin_page(title),
            f"<h1>{escape(title)}</h1>",
            f"<p class='soft'>{escape(facts['model']['name'])}{judged}. "
            f"What is dropped goes to this machine alone, and is not kept.</p>",
            body,
            end_page(f"const largest = {largest_bytes};\n{script}"),
        ]
    )


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30  # seconds that a client may take over its next bytes

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self._is_for_here():
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page.encode())

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/look":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not length.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > self.server.largest_bytes:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self.headers.get("Content-Type") != TYPE:
            self.send_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        elif self._is_for_here():
            try:
                status, found = HTTPStatus.OK, self.server.answer(self.rfile.read(int(length)))
            except RequestError as error:
                status, found = HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)}
            self._send(status, "application/json", json.dumps(found).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the console is for what the user must know."""

    def _is_for_here(self) -> bool:
        if self.server.names is None or self.headers.get("Host") in self.server.names:
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
