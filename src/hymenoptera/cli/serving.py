"""`hymenoptera serve`: a page on which an image is dropped and classified."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer
from PIL import Image

from hymenoptera.cli.description import describe
from hymenoptera.cli.explanation import Explainer, Explanation
from hymenoptera.data.images import UNREADABLE, open_image, upright_rgb, why_unreadable
from hymenoptera.errors import ConfigError
from hymenoptera.reports.pages import render

try:
    import uvicorn
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect
except ImportError as error:
    raise ConfigError("serve needs FastAPI and uvicorn: pip install -e '.[serve]'") from error

MAX_BYTES = 20_000_000  # of an uploaded file
TYPE = "application/octet-stream"  # browsers let no other site send it here
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data: blob:; connect-src 'self'; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def run_server(checkpoint: Path, host: str, port: int, device: str) -> None:
    """Serve a checkpoint until Ctrl-C; raises OSError, before all else, where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    explainer = Explainer(checkpoint, device)
    if explainer.missing:
        typer.echo(f"No nearest training images are shown. {explainer.missing}", err=True)
    app = build_app(explainer, describe(checkpoint))
    host, port = listener.getsockname()[:2]
    if host in ("127.0.0.1", "::1"):  # a name that another site points here is not one of ours
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    options: dict[str, Any] = {"log_config": None, "log_level": "error", "lifespan": "off"}
    config = uvicorn.Config(app, timeout_graceful_shutdown=3, **options)
    name = "localhost" if ":" in host else host
    typer.echo(f"http://{name}:{port}    Ctrl-C ends it", err=True)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has ended
        uvicorn.Server(config).run(sockets=[listener])


def build_app(
    explain: Callable[[Image.Image], Explanation], description: dict[str, Any]
) -> FastAPI:
    """The application: GET / is the page, POST /predict takes an image file and explains it.

    `explain` gets RGB images, from one thread at a time; the page shows `describe`'s description.
    """
    app = FastAPI(openapi_url=None)  # the pages of documentation load from elsewhere
    page = render("serve.html", max_bytes=MAX_BYTES, **description)
    one_at_a_time = threading.Lock()

    @app.get("/", response_class=HTMLResponse)
    def index() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)

    @app.post("/predict")
    async def predict(request: Request) -> Explanation:
        if request.headers.get("content-type") != TYPE:
            raise HTTPException(415, f"Send the file's bytes as {TYPE}.")
        content = bytearray()
        with suppress(ClientDisconnect):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise HTTPException(413, f"Files of up to {MAX_BYTES / 1e6:g} MB are taken.")
        return await run_in_threadpool(explained, bytes(content))

    def explained(content: bytes) -> Explanation:
        try:
            with open_image(content) as image:
                upright = upright_rgb(image)
        except UNREADABLE as error:
            message = f"This cannot be read as an image: {why_unreadable(error)}."
            raise HTTPException(422, message) from error
        with one_at_a_time:
            return explain(upright)

    return app
