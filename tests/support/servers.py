"""Servers of others, each a process of the test's own on a free port; skipped where missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.collector import free_ports

_SECONDS = 60.0


def _binary(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return found


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Server:
    """A process that can be killed and started again on the same port and data."""

    def __init__(
        self, command: list[str], port: int, folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.port = port
        self._command, self._folder = command, folder
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections; skip the test when it never does."""
        log = (self._folder / "output.txt").open("ab")
        with log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                said = (self._folder / "output.txt").read_text(errors="replace")[-500:]
                pytest.skip(f"{self._command[0]} did not start within {_SECONDS:.0f} s: {said}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Have it end by itself, or kill it when it does not."""
        if self._process is not None:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill it, with the processes that it has started in its session."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_SECONDS)


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """A Redis that keeps what it was told over a kill."""
    (port,) = free_ports(1)
    command = [
        *(_binary("redis-server"), "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    ]
    server = Server(command, port, folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[Server]:
    """A RabbitMQ with a node, data and an Erlang port mapper of its own."""
    port, distribution, mapper = free_ports(3)
    environment = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"wakelog{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-setcookie wakelog",
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    # The wrapper of the package would become another user; the server itself does not.
    wrapped = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    command = [str(wrapped) if wrapped.exists() else _binary("rabbitmq-server")]
    epmd = subprocess.Popen(
        [_binary("epmd"), "-port", str(mapper), "-address", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(command, port, folder, environment)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        epmd.kill()
        epmd.wait(_SECONDS)
