"""A real VictoriaLogs, run as the project's own compose file runs it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from tests.support.collector import free_ports

COMPOSE = Path(__file__).parents[2] / "collector-config" / "compose" / "compose-victoria.yaml"
_SECONDS = 60.0
_NANOSECONDS = 10**9

Line = dict[str, str]
"""A line's fields by their names: `_msg` is its text, `_time` when it happened (RFC 3339)."""


class VictoriaLogs:
    """Runs until `stop`, on loopback and with everything in a folder.

    Args:
        binary: The program, as `scripts/build_victoria_logs.py` builds it.
        folder: Where it keeps what it has; it must exist.

    Attributes:
        otlp_endpoint: What `gateway.yaml` takes as `LOKI_ENDPOINT`.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        text = COMPOSE.read_text(encoding="utf-8")
        (path,) = re.findall(r"http://victoria-logs:9428(/\S+)", text)
        flags = re.findall(r'^ +- "(-[a-z]\S+=\S+)"$', text, re.MULTILINE)
        options = dict(flag.split("=") for flag in flags)
        options["-storageDataPath"] = str(folder / "data")
        options["-httpListenAddr"] = f"127.0.0.1:{port}"
        self._api = f"http://127.0.0.1:{port}"
        self.otlp_endpoint = self._api + path
        self._log = folder / "victoria-logs.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary, *map("=".join, options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def lines(self, query: str, begin: int) -> list[Line]:
        """Return the lines that a query has, in the order of the query.

        Args:
            query: LogsQL.
            begin: The time from which on, in nanoseconds since 1970.
        """
        # Its parameters are in whole seconds.
        asked = {"query": query, "start": begin // _NANOSECONDS, "limit": 5000}
        address = f"{self._api}/select/logsql/query?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def wait_for(self, count: int, query: str, begin: int) -> list[Line]:
        """Return the lines that a query has, once there are so many; no more may come."""
        deadline = time.monotonic() + _SECONDS
        while len(found := self.lines(query, begin)) < count:
            assert time.monotonic() < deadline, (len(found), self.tail())
            time.sleep(0.05)
        assert len(found) == count
        return found

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace")[-4000:]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self._api}/health", timeout=1).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self._process.poll() is None, self.tail()
                assert time.monotonic() < deadline, self.tail()
                time.sleep(0.05)
            else:
                return


def nanoseconds(line: Line) -> int:
    """Return when a line happened, in nanoseconds since 1970."""
    seconds, _, fraction = line["_time"].removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return int(whole.timestamp()) * _NANOSECONDS + int(fraction.ljust(9, "0"))
