"""A headless Chromium for tests, over WebDriver's HTTP: no package but the standard library.

Debian: ``apt-get install chromium chromium-driver``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DISABLED = ("gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage")
_FLAGS = ("headless=new", "no-sandbox", "no-first-run", "hide-scrollbars")
_FLAGS += tuple(f"disable-{name}" for name in _DISABLED)


def missing() -> str | None:
    """Returns why there is no browser to test with, or None."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install chromium chromium-driver"
    return None


class Browser:
    """One page in a browser."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {
            "binary": shutil.which("chromium"),
            "args": [*(f"--{flag}" for flag in _FLAGS), f"--user-data-dir={profile}"],
            # A new tab would fetch things of its own.
            "prefs": {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]},
        }
        capabilities = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self._post("/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._base += f"/session/{answer['sessionId']}"

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def close(self) -> None:
        """Ends the browser."""
        request = urllib.request.Request(self._base, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()

    def open(self, path: Path) -> None:
        """Loads a file and waits until it is there."""
        self._post("/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Returns what a function body of JavaScript returns."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def tell(self, method: str, **parameters: Any) -> Any:
        """Sends a command of the DevTools protocol."""
        return self._post("/goog/cdp/execute", {"cmd": method, "params": parameters})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Returns and empties a log: "browser" (the console) or "performance" (DevTools)."""
        return self._post("/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """Returns the addresses asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def size(self, width: int, height: int) -> None:
        """Sets the size of the window in CSS pixels."""
        options = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.tell("Emulation.setDeviceMetricsOverride", **options)

    def look(self, width: int, *, dark: bool = False, media: str = "") -> None:
        """Sets the width of the window in CSS pixels, the colour scheme, and the medium."""
        self.size(width, 900)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as a PNG."""
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """Prints the page."""
        found = self.tell("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Starts a browser with a profile of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = ["chromedriver", f"--port={port}"]
    driver = subprocess.Popen(command, **quiet, start_new_session=True)
    try:
        _wait(port)
        browser = Browser(port, profile)
        try:
            yield browser
        finally:
            with contextlib.suppress(OSError):
                browser.close()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)  # And the browser, should it hang.
        driver.wait(timeout=30)


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("chromedriver does not answer")
