"""A real browser for tests: headless chromium, spoken to through pipes (its DevTools protocol)."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--remote-debugging-pipe",  # commands come on descriptor 3, answers go out on 4
)


class Browser:
    """One page in a browser; the test is skipped where there is none.

    Attributes:
        requests: the address of everything that the page asked for.

    Args:
        folder: for the browser's profile.
        width_px: of the page.
        height_px: of the page.
    """

    def __init__(self, folder: Path, width_px: int = 1200, height_px: int = 1000) -> None:
        chromium = shutil.which("chromium")
        if chromium is None:
            pytest.skip("needs Debian's chromium")
        self.requests: list[str] = []
        self._number = 0
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        # away from 3 and 4, lest one is overwritten before it is used
        theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (commands, answers)]
        window = f"--window-size={width_px},{height_px}"
        command = [chromium, *OPTIONS, window, f"--user-data-dir={folder / 'profile'}"]
        redirected = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", *command],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (commands, answers, *theirs):
            os.close(descriptor)
        self._pending = b""
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._out)  # it ends when nobody can give it commands any more
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        os.close(self._in)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give the browser a command of the protocol, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (said := self._read()).get("id") != self._number:
            pass
        assert "error" not in said, said
        return said["result"]

    def open(self, address: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = 60) -> Any:
        """The value of an expression as soon as it is a true one."""
        end = time.monotonic() + timeout_s
        while not (found := self.value(expression)):
            assert time.monotonic() < end, f"{expression} did not come true"
            time.sleep(0.1)
        return found

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into an `<input type=file>`."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path: Path) -> None:
        """Keep what the page looks like, all of it, as a PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            piece = os.read(self._in, 1 << 16)
            assert piece, "the browser has ended"
            self._pending += piece
        message, _, self._pending = self._pending.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        if said.get("method") == "Network.requestWillBeSent":
            self.requests.append(said["params"]["request"]["url"])
        return said
