"""The demo's handle on its agent process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import wakelog
from wakelog.errors import WakelogError

FLUSH_TIMEOUT = "WAKELOG_DEMO_PATIENCE"
"""The variable that tells the agent how long to wait for delivery when it ends, in seconds."""
_LAST_WORDS = 500


class AgentProcess:
    """Runs one part of the demo's agent and reads its reports.

    Args:
        directory: The journal's directory.
        part: The name of the part; see ``_demo_agent``.
        environment: The process's environment variables.
        hear: Called with every message of the agent.
    """

    def __init__(
        self,
        directory: Path,
        part: str,
        environment: Mapping[str, str],
        hear: Callable[[str], None],
    ) -> None:
        self._hear = hear
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        source = str(Path(wakelog.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wakelog.cli._demo_agent", str(directory), part],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment, "PYTHONPATH": path},
            text=True,
            encoding="utf-8",
        )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, name="demo-agent", daemon=True).start()

    def __enter__(self) -> Self:
        """Return this object; the process runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs."""
        self.kill()
        self._errors.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def expect(self, at: str, timeout: float) -> dict[str, Any]:
        """Wait until the agent has reported that it reached a place.

        Args:
            at: The name of the place.
            timeout: The longest wait, in seconds.

        Returns:
            The agent's report.

        Raises:
            WakelogError: If the agent ended before, or the time-out expired.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                message = f"the demo's agent did not get to {at!r} within {timeout:.0f} s"
                raise WakelogError(message) from None
            if said is None:
                message = f"the demo's agent ended before {at!r}: {self._last_words()}"
                raise WakelogError(message)
            if said["at"] == at:
                return said
            if said["at"] == "say":
                self._hear(said["text"])

    def go_on(self) -> None:
        """Let the agent continue from where it waits."""
        assert self._process.stdin is not None  # noqa: S101 - Popen was told so
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait until it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float) -> None:
        """Wait until the process ends by itself.

        Raises:
            WakelogError: If it failed, or the time-out expired.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            message = f"the demo's agent did not end within {timeout:.0f} s"
            raise WakelogError(message) from None
        if code:
            message = f"the demo's agent ended with code {code}: {self._last_words()}"
            raise WakelogError(message)

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - Popen was told so
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and "at" in said:
                self._said.put(said)
        self._said.put(None)

    def _last_words(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        return text.strip()[-_LAST_WORDS:] or "it said nothing"
