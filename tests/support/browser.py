"""A headless Chromium, driven over its debugging pipe, without any library in between."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.support.parts import unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60
# Puts the two ends of the pipes where Chromium looks for them.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str:
    """Return the browser's path; without one it is unavailable."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        unavailable("chromium", f"no browser: none of {', '.join(NAMES)} is installed")
    return path


class Browser:
    """One page of a headless browser.

    Args:
        folder: Where it keeps its profile.
    """

    def __init__(self, folder: Path) -> None:
        program = find_browser()
        ours, theirs = [os.pipe(), os.pipe()], []
        self._read, self._write = ours[1][0], ours[0][1]
        for end in (ours[0][0], ours[1][1]):
            theirs.append(fcntl.fcntl(end, fcntl.F_DUPFD, 10))
            os.close(end)
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self._log = (folder.parent / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, theirs), program, *options],
            pass_fds=theirs,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        for end in theirs:
            os.close(end)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        try:
            targets = self._call("Target.getTargets")["targetInfos"]
        except (AssertionError, BrokenPipeError) as error:
            self.close()
            unavailable("chromium", f"{program} does not start here: {error}")
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]

    _session = ""

    def open(self, address: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", url=address)

    def watch(self) -> None:
        """Keep what the page says, asks for and breaks from now on, for ``complaints`` and ``requests``."""
        for domain in ("Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def complaints(self) -> list[str]:
        """Return what the console has of errors and warnings, and exceptions that nobody caught."""
        self.evaluate("1")
        found = []
        for event in self.events:
            about = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(about["exceptionDetails"].get("exception", about)))
            elif event["method"] == "Runtime.consoleAPICalled" and about["type"] != "log":
                found.append(str(about["args"]))
            elif event["method"] == "Log.entryAdded":
                found.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        return found

    def requests(self) -> set[str]:
        """Return the addresses that the page has asked for."""
        self.evaluate("1")
        asked = (e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return {one["request"]["url"] for one in asked}

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        """Make the window so large, in CSS pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Have the user prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str) -> None:
        """Press and release a key, by its name in the event."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def screenshot(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript is in the page."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return it."""
        until = time.monotonic() + SECONDS
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} is {value!r}"
            time.sleep(0.02)
        return value

    def close(self) -> None:
        """End the browser and all of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        for end in (self._read, self._write):
            os.close(end)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self._receive(until)
            if "method" in answer:
                self.events.append(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._read, 65536)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message
