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

TYPE = "application/octet-stream"  # browsers let no other site send it here
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data: blob:; connect-src 'self'; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def run_server(
    listener: socket.socket, checkpoint: Path, device: str, max_bytes: int, max_pixels: int
) -> None:
    """Serve a checkpoint on a socket that listens, until Ctrl-C."""
    explainer = Explainer(checkpoint, device)
    if explainer.missing:
        typer.echo(f"No nearest training images are shown. {explainer.missing}", err=True)
    app = build_app(explainer, describe(checkpoint), max_bytes, max_pixels)
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
    explain: Callable[[Image.Image], Explanation],
    description: dict[str, Any],
    max_bytes: int,
    max_pixels: int,
) -> FastAPI:
    """The application: GET / is the page, POST /predict takes an image file and explains it.

    `explain` gets RGB images, from one thread at a time; the page shows `describe`'s description.
    """
    app = FastAPI(openapi_url=None)  # the pages of documentation load from elsewhere
    page = render("serve.html", max_bytes=max_bytes, **description)
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
                if len(content) > max_bytes:
                    raise HTTPException(413, f"Files of up to {max_bytes / 1e6:g} MB are taken.")
        return await run_in_threadpool(explained, bytes(content))

    def explained(content: bytes) -> Explanation:
        try:
            image = _decode(content, max_pixels)
            with one_at_a_time:
                return explain(image)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            message = "There is not enough memory for this image now. Try again, or a smaller one."
            raise HTTPException(503, message) from error

    return app


def _decode(content: bytes, max_pixels: int) -> Image.Image:
    try:
        with open_image(content) as image:
            if image.width * image.height > max_pixels:
                limit = f"{max_pixels / 1e6:g} million are taken"
                raise ValueError(f"{image.width} x {image.height} pixels are too many, {limit}")
            return upright_rgb(image)
    except UNREADABLE as error:
        if _is_out_of_memory(error):
            raise
        message = f"This cannot be read as an image: {why_unreadable(error)}."
        raise HTTPException(422, message) from error


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is the memory of the machine, or of its accelerator, that ran out."""
    words = ("out of memory", "can't allocate memory")  # of torch's allocators
    is_python = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
    return is_python or any(word in str(error).lower() for word in words)
