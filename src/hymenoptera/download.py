"""Downloading a file over HTTP: resumed where it broke off, checked, in place whole or not at all.

The rules of resuming are RFC 9110's: `Range` with `If-Range` is answered by 206 for the same
version of the file and by 200, the whole file, for another.
"""

import http.client
import logging
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

from hymenoptera.atomic import alone
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError
from hymenoptera.partial import Part, Whole

log = logging.getLogger(__name__)

MIN_BYTES_PER_S = 1000
"""Less than this, over `timeout_s`, counts as nothing: at a byte a second no download ends."""

_CHUNK_BYTES = 1 << 18


class DownloadError(RequestError):
    """A file could not be downloaded; the message is one sentence, what to do is the caller's."""


class _BrokenError(Exception):
    """An attempt failed in a way that another attempt may mend; the text says why."""


def check_address(url: str) -> None:
    """Refuse what is not the address of a file on a web server.

    Raises:
        DownloadError: the scheme is neither http nor https, or there is no host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is no number raises
    except ValueError as error:
        raise DownloadError(f"{url} is not a valid address: {error}.") from error
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise DownloadError(f"{url} is not an address that begins with http:// or https://.")


def download(
    url: str,
    target: Path,
    *,
    sha256_prefix: str | None = None,
    timeout_s: float = 30.0,
    attempts: int = 4,
    backoff_s: float = 0.5,
) -> Path:
    """Download a file, going on where an earlier call or attempt broke off.

    Processes that ask for the same target at the same time share one download. A target that is
    there already is returned without a request, unless its SHA-256 is a wrong one.

    Args:
        url: an http or https address.
        target: the file's final place; its folder is made if need be.
        sha256_prefix: how the SHA-256 of the file must begin, in hexadecimal digits.
        timeout_s: how long to wait for a connection, and for progress of MIN_BYTES_PER_S.
        attempts: how often to ask in all. A wrong address (404 and other 4xx) is asked once.
        backoff_s: the pause before the second attempt; it doubles before each further one.

    Returns:
        The target.

    Raises:
        DownloadError: the address is refused, the file could not be had, has the wrong SHA-256,
            or cannot be written. A part with data in it stays for the next call, unless its
            content is known to be wrong.
    """
    check_address(url)
    try:
        if _is_there(target, sha256_prefix):
            return target
        with alone(target):
            if not _is_there(target, sha256_prefix):  # another process may have just made it
                part = Part(url, target)
                try:
                    _attempt(part, timeout_s, attempts, backoff_s)
                    _verify(part, sha256_prefix)
                    part.finish(target)
                finally:
                    part.drop_if_empty()
    except OSError as error:  # the network's own errors do not come this far
        reason = error.strerror or error
        raise DownloadError(f"Could not save {url} as {target}: {reason}.") from error
    return target


def _is_there(target: Path, sha256_prefix: str | None) -> bool:
    return target.is_file() and (sha256_prefix is None or _sha256_begins(target, sha256_prefix))


def _sha256_begins(path: Path, prefix: str) -> bool:
    return file_sha256(path).startswith(prefix.lower())


def _verify(part: Part, sha256_prefix: str | None) -> None:
    if not _is_there(part.path, sha256_prefix):
        part.drop()
        raise DownloadError(
            f"Could not download {part.whole.url}: the SHA-256 of what came does not begin with "
            f"{sha256_prefix}."
        )


def _attempt(part: Part, timeout_s: float, attempts: int, backoff_s: float) -> None:
    """Ask until the part is whole."""
    for attempt in range(1, attempts + 1):
        try:
            _receive(part, timeout_s)
            return
        except _BrokenError as error:
            if attempt == attempts:
                raise DownloadError(f"Could not download {part.whole.url}: {error}.") from error
            if part.size_bytes:  # a server that never answered is not worth a line a time
                log.info("%s: %s; trying again (%d/%d)", part.name, error, attempt + 1, attempts)
        time.sleep(backoff_s * 2 ** (attempt - 1))


def _receive(part: Part, timeout_s: float) -> None:
    """Ask once for what is missing, and append what comes."""
    if part.is_whole:  # the earlier call ended between the last byte and the renaming
        return
    with _open(part, timeout_s) as response:
        whole, offset = _announced(response, part)
        part.begin(whole, offset)
        with (
            part.path.open("ab") as file,
            tqdm(
                desc=part.name,
                initial=offset,
                total=whole.size_bytes,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None,
            ) as bar,
        ):
            since, came_bytes = time.monotonic(), 0
            while chunk := _read(response, part, timeout_s):
                file.write(chunk)
                bar.update(len(chunk))
                came_bytes += len(chunk)
                if time.monotonic() - since >= timeout_s:
                    if came_bytes < MIN_BYTES_PER_S * timeout_s:
                        raise _BrokenError(f"only {came_bytes} bytes came in {timeout_s:g} s")
                    since, came_bytes = time.monotonic(), 0
            file.flush()
            os.fsync(file.fileno())
    if whole.size_bytes is not None and part.size_bytes != whole.size_bytes:
        raise _BrokenError(
            f"the connection broke off at {part.size_bytes / 1e6:.1f} of "
            f"{whole.size_bytes / 1e6:.1f} MB"
        )


def _open(part: Part, timeout_s: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "hymenoptera", "Accept-Encoding": "identity"}
    if part.size_bytes:
        headers["Range"] = f"bytes={part.size_bytes}-"
        if part.whole.version:
            headers["If-Range"] = part.whole.version
    try:
        request = urllib.request.Request(part.whole.url, headers=headers)
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        _refused(error, part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _broken(error, part, timeout_s)
    if not isinstance(response, http.client.HTTPResponse):
        raise DownloadError(f"Could not download {part.whole.url}: it leads to {response.url}.")
    return response


def _read(response: http.client.HTTPResponse, part: Part, timeout_s: float) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)  # what has come, so that a break loses nothing
    except (OSError, http.client.HTTPException, ValueError) as error:
        _broken(error, part, timeout_s)


def _announced(response: http.client.HTTPResponse, part: Part) -> tuple[Whole, int]:
    """Read from an answer's header what the whole is, and where in it the answer begins."""
    headers = response.headers
    etag = headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None  # RFC 9110, 13.1.5
    version = strong or headers.get("Last-Modified")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        start, size_bytes = (int(match[1]), int(match[2])) if match else (-1, -1)
        if start != part.size_bytes or part.whole.size_bytes not in (None, size_bytes):
            part.drop()
            raise _BrokenError("the server went on with another part than was asked for")
        return Whole(part.whole.url, part.whole.version or version, size_bytes), start
    length = headers.get("Content-Length", "")
    return Whole(part.whole.url, version, int(length) if length.isdecimal() else None), 0


def _refused(error: urllib.error.HTTPError, part: Part) -> NoReturn:
    error.close()
    reason = f"the server answers {error.code} {error.reason}".rstrip()
    if 300 <= error.code < 400:  # urllib gives up on it, in several lines
        reason = f"the server redirects ({error.code}) in a circle, or to what is no web address"
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.drop()  # the file there is shorter now: another one
        raise _BrokenError(reason) from error
    if error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500:
        raise _BrokenError(reason) from error
    raise DownloadError(f"Could not download {part.whole.url}: {reason}.") from error


def _broken(error: Exception, part: Part, timeout_s: float) -> NoReturn:
    """Put a connection's error into words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    host = urlsplit(part.whole.url).hostname
    match cause:
        case ssl.SSLCertVerificationError() | http.client.InvalidURL() | ValueError():
            raise DownloadError(f"Could not download {part.whole.url}: {cause}.") from error
        case TimeoutError():
            reason = f"nothing came from {host} for {timeout_s:g} s"
        case socket.gaierror():
            reason = f"no address is known for {host}, so there may be no network"
        case OSError() if cause.strerror:
            reason = f"no connection to {host} ({cause.strerror})"
        case _:
            reason = f"the connection to {host} broke off ({cause})"
    raise _BrokenError(reason) from error
