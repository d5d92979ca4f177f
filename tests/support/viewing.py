"""`wakelog view` in a process of its own, as a user starts it, and how to ask it without a browser."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

SECONDS = 60


class Viewing:
    """The page of a journal, served.

    Args:
        path: The journal, or a file.
        options: More of the command line.
        variables: More of the environment.
    """

    def __init__(self, path: Path, *options: str, **variables: str) -> None:
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "WAKELOG"))
        }
        self._said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wakelog", "view", str(path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | variables,
        )
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        assert words, "it did not start"
        self.address = words[1]
        self.site, _, self.token = self.address.partition("/#token=")
        self.port = int(self.site.rpartition(":")[2])

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer; the token is sent unless a header says another."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        given = {"Authorization": f"Bearer {self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON of an answer."""
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def memory(self) -> int:
        """Return the most memory that it has had, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [line] = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        _, self._said = self._process.communicate(timeout=SECONDS)

    def ended(self) -> tuple[int | None, str]:
        """Return its exit code and what it has written on standard error, after its end."""
        return self._process.returncode, self._said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
