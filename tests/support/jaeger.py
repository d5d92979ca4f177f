"""A real Jaeger, with everything in memory."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.support.collector import free_ports

_SECONDS = 60.0


class Jaeger:
    """Runs until `stop`.

    Args:
        binary: The program, as `scripts/build_jaeger.py` builds it.
        folder: Where its output goes; it must exist.

    Attributes:
        endpoint: What `gateway.yaml` takes as `JAEGER_ENDPOINT`.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        ports = free_ports(7)
        query, otlp = ports[:2]
        flags = [
            "query.http-server",
            "collector.otlp.http",
            "collector.otlp.grpc",
            "collector.grpc-server",
            "collector.http-server",
            "query.grpc-server",
            "admin.http",
        ]
        self.endpoint = f"http://127.0.0.1:{otlp}"
        self._query = f"http://127.0.0.1:{query}"
        with (folder / "jaeger.log").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    binary,
                    *(
                        f"--{flag}.host-port=127.0.0.1:{p}"
                        for flag, p in zip(flags, ports, strict=True)
                    ),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def traces(self, service: str, spans: int) -> list[dict[str, Any]]:
        """Return the traces of a service, once they have so many spans in all."""
        return self._wait_for("/api/traces?" + urllib.parse.urlencode({"service": service}), spans)

    def trace(self, trace_id: str, spans: int) -> dict[str, Any]:
        """Return a trace, once it has so many spans."""
        (found,) = self._wait_for(f"/api/traces/{trace_id}", spans)
        return found

    def _wait_for(self, path: str, spans: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + _SECONDS
        while True:
            found = self._ask(path)
            if sum(len(trace["spans"]) for trace in found) >= spans:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._ask("/api/services")
            except OSError:
                assert self._process.poll() is None, "Jaeger has ended"
                assert time.monotonic() < deadline, "Jaeger does not answer"
                time.sleep(0.05)
            else:
                return

    def _ask(self, path: str) -> list[dict[str, Any]]:
        try:
            with urllib.request.urlopen(self._query + path, timeout=_SECONDS) as answer:
                data: list[dict[str, Any]] | None = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            return []
        return data or []
