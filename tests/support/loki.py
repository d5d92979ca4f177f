"""A real Loki, with the project's own configuration."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.support.collector import free_ports

CONFIG = Path(__file__).parents[2] / "collector-config" / "compose" / "loki.yaml"
_SECONDS = 60.0
# Grafana has the labels of a line told apart from those of its stream.
_AS_GRAFANA = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
_QUERY = "/loki/api/v1/query_range"


class Line(NamedTuple):
    """A line that Loki answers with, as Grafana gets it.

    Attributes:
        time: When it happened, in nanoseconds since 1970.
        text: The line.
        labels: The stream's labels and the line's own.
    """

    time: int
    text: str
    labels: dict[str, str]


class Loki:
    """Runs until `stop`, on loopback and with everything in a folder.

    Args:
        binary: The program, as `scripts/build_loki.py` builds it.
        folder: Where it keeps what it has; it must exist.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        http, grpc = free_ports(2)
        config = CONFIG.read_text(encoding="utf-8")
        for shipped, ours in ((": 3100", f": {http}"), (": /loki", f": {folder}")):
            assert shipped in config
            config = config.replace(shipped, ours)
        (folder / "loki.yaml").write_text(config, encoding="utf-8")
        self._api = f"http://127.0.0.1:{http}"
        self._log = folder / "loki.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    binary,
                    f"-config.file={folder / 'loki.yaml'}",
                    "-server.http-listen-address=127.0.0.1",
                    "-server.grpc-listen-address=127.0.0.1",
                    f"-server.grpc-listen-port={grpc}",
                    "-ingester.min-ready-duration=0s",
                    f"-querier.frontend-address=127.0.0.1:{grpc}",
                    "-querier.dns-lookup-period=100ms",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def otlp_endpoint(self) -> str:
        """What `gateway.yaml` takes as `LOKI_ENDPOINT`."""
        return f"{self._api}/otlp"

    def lines(self, query: str, begin: int, end: int | None = None) -> list[Line]:
        """Return the lines that a query has, the newest first.

        Args:
            query: LogQL.
            begin: The time from which on, in nanoseconds since 1970.
            end: The time up to which, None for now.

        Raises:
            ValueError: Loki refuses the query; with what it says.
        """
        span = {"query": query, "start": begin, "end": end or time.time_ns(), "limit": 5000}
        address = f"{self._api}{_QUERY}?{urllib.parse.urlencode(span)}"
        try:
            asked = urllib.request.Request(address, headers=_AS_GRAFANA)
            with urllib.request.urlopen(asked, timeout=_SECONDS) as answer:
                data = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from error
        assert data["resultType"] == "streams"
        found = [
            Line(int(at), text, stream["stream"] | of_line["structuredMetadata"])
            for stream in data["result"]
            for at, text, of_line in stream["values"]
        ]
        return sorted(found, key=lambda line: line.time, reverse=True)

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
                # It says that it is ready seconds before it answers queries.
                urllib.request.urlopen(
                    f"{self._api}{_QUERY}?query={{a%3D%22b%22}}", timeout=1
                ).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self._process.poll() is None, self.tail()
                assert time.monotonic() < deadline, self.tail()
                time.sleep(0.05)
            else:
                return
