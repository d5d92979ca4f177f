"""A real OpenTelemetry Collector that tests can start, stop, kill, start again and read from."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import orjson

from tests.support.otlp import (
    ExportedLog,
    ExportedMetrics,
    ExportedSpan,
    decode_logs,
    decode_metrics,
    decode_spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

CONFIG = Path(__file__).with_name("collector.yaml")

_POLL_S = 0.02
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_HOST = "127.0.0.1"


class Collector:
    """Runs the Collector on fixed loopback ports, with everything it receives in `folder`.

    Ports and files stay the same over `stop`, `kill` and `start`, as a Collector's restart looks to its
    clients. What an earlier process wrote is kept and added to.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        config: Path = CONFIG,
        flags: Sequence[str] = (),
        **environment: str,
    ) -> None:
        """Chooses ports and files; starts nothing.

        Args:
            binary: The Collector, as built by `scripts/build_collector.py`.
            folder: Where the received records (`logs.jsonl`, `traces.jsonl`, `metrics.jsonl`) and the
                Collector's own output (`collector.log`) go; it must exist.
            config: A Collector configuration that takes its addresses and files from
                `OTLP_HTTP_ADDRESS`, `OTLP_GRPC_ADDRESS`, `HEALTH_ADDRESS`, `LOGS_FILE`,
                `TRACES_FILE` and `METRICS_FILE` in its environment.
            flags: More flags of the command.
            environment: What else stands in its environment.
        """
        self._binary = binary
        self._config = config
        self._http, self._grpc, self._health = free_ports(3)
        self._output = folder / "collector.log"
        self._logs = _GrowingFile(folder / "logs.jsonl", decode_logs)
        self._spans = _GrowingFile(folder / "traces.jsonl", decode_spans)
        self._metrics = _GrowingFile(folder / "metrics.jsonl", decode_metrics)
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "OTLP_HTTP_ADDRESS": f"{_HOST}:{self._http}",
            "OTLP_GRPC_ADDRESS": f"{_HOST}:{self._grpc}",
            "HEALTH_ADDRESS": f"{_HOST}:{self._health}",
            "LOGS_FILE": str(self._logs.path),
            "TRACES_FILE": str(self._spans.path),
            "METRICS_FILE": str(self._metrics.path),
            "TELEMETRY_LEVEL": "none",
            **environment,
        }
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_endpoint(self) -> str:
        """The OTLP/HTTP base address, to which `/v1/logs` or `/v1/traces` is added."""
        return f"http://{_HOST}:{self._http}"

    @property
    def grpc_endpoint(self) -> str:
        """The OTLP/gRPC address."""
        return f"http://{_HOST}:{self._grpc}"

    @property
    def pid(self) -> int | None:
        """The process id while a process of ours is running, else None."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Starts the process, waits until it reports itself healthy, and returns this object.

        Raises:
            RuntimeError: It is running already, ended at once, or was not healthy within 60 s; the last
                two with what it printed.
        """
        if self._process is not None:
            msg = "the Collector is running already"
            raise RuntimeError(msg)
        self._logs.cut_unfinished_line()
        self._spans.cut_unfinished_line()
        self._metrics.cut_unfinished_line()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [self._binary, f"--config={self._config}", *self._flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        try:
            self._wait_until_healthy(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Ends the process as an operator would, with SIGTERM; does nothing when none is running.

        Raises:
            RuntimeError: It did not end within 60 s, and was killed.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            msg = f"the Collector ignored SIGTERM for {_STOP_TIMEOUT_S} s:\n{self._tail()}"
            raise RuntimeError(msg) from error

    def kill(self) -> None:
        """Ends the process with SIGKILL; does nothing when none is running."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def log_records(self) -> list[ExportedLog]:
        """Returns every log record received so far, in order of arrival, over all restarts."""
        return self._logs.items()

    def spans(self) -> list[ExportedSpan]:
        """Returns every span received so far, in order of arrival, over all restarts."""
        return self._spans.items()

    def metrics(self) -> list[ExportedMetrics]:
        """Returns every collection of a program's metrics received so far, in order of arrival."""
        return self._metrics.items()

    def wait_for_logs(self, count: int, timeout: float = 60.0) -> list[ExportedLog]:
        """Waits until log records with `count` distinct `log.record.uid` have arrived.

        Args:
            count: How many distinct ids to wait for.
            timeout: The longest wait, in seconds.

        Returns:
            Every log record received, second copies and records without an id included.

        Raises:
            TimeoutError: Fewer ids arrived in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            records = self.log_records()
            seen = len({record.uid for record in records if record.uid is not None})
            if seen >= count:
                return records
            if time.monotonic() >= deadline:
                msg = (
                    f"{seen} of {count} distinct log.record.uid in {len(records)} records "
                    f"after {timeout} s; the Collector said:\n{self._tail()}"
                )
                raise TimeoutError(msg)
            time.sleep(_POLL_S)

    def wait_for_spans(self, ids: set[str], timeout: float = 60.0) -> list[ExportedSpan]:
        """Waits until spans with these ids have arrived, and returns every span received.

        Raises:
            TimeoutError: Some did not arrive in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            spans = self.spans()
            missing = ids - {span.span_id for span in spans}
            if not missing:
                return spans
            if time.monotonic() > deadline:
                msg = f"{len(missing)} of {len(ids)} spans did not arrive"
                raise TimeoutError(msg)
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_healthy():
            if process.poll() is not None:
                msg = f"the Collector ended with code {process.returncode}:\n{self._tail()}"
                raise RuntimeError(msg)
            if time.monotonic() >= deadline:
                msg = f"the Collector was not healthy within {_START_TIMEOUT_S} s:\n{self._tail()}"
                raise RuntimeError(msg)
            time.sleep(_POLL_S)

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(_HOST, self._health, timeout=1.0)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self, size: int = 4000) -> str:
        return self._output.read_bytes()[-size:].decode(errors="replace")


class _GrowingFile(Generic[T]):
    """Reads the whole lines of a file that another process appends to, each line once."""

    def __init__(self, path: Path, decode: Callable[[dict[str, object]], Iterable[T]]) -> None:
        self.path = path
        self._decode = decode
        self._offset = 0
        self._items: list[T] = []

    def items(self) -> list[T]:
        """Returns the decoded content of all whole lines so far; an unfinished last one is left."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._items.extend(self._decode(orjson.loads(line)))
        return list(self._items)

    def cut_unfinished_line(self) -> None:
        """Removes what a killed process left after the last newline, which nobody was told of.

        The next process would append to it, and two lines would become one unreadable one.
        """
        self.items()
        if self.path.exists():
            os.truncate(self.path, self._offset)


def free_ports(count: int) -> list[int]:
    """Returns distinct loopback ports that nothing listens on now.

    They lie below the range that the kernel gives to outgoing connections: there, a client that keeps
    dialling a stopped server can be connected to itself, and the server could not come back.
    """
    chance = random.SystemRandom()  # Hypothesis gives every process the same `random`
    ports: list[int] = []
    with_ports: list[socket.socket] = []
    try:
        while len(ports) < count:
            candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with_ports.append(candidate)
            port = chance.randrange(15_000, 32_000)
            try:
                candidate.bind((_HOST, port))
            except OSError:
                continue
            ports.append(port)
    finally:
        for held in with_ports:
            held.close()
    return ports
