"""Servers of others, each a process of the test's own on a free port.

`tests/support/parts.py` says what happens to a test where one is missing, or does not start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts import fetch_kafka
from scripts.servers import find
from tests.support.collector import free_ports
from tests.support.parts import need, unavailable

_SECONDS = 60.0


def _binary(name: str, part: str) -> str:
    need(part)
    found = find(name)
    assert found is not None
    return found


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _processes_of(session: int) -> list[str]:
    """Return a line for each process of a session: its id, its parent, its state, and where its threads wait."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended in between
            state, parent, _, of_session = (
                (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            )
            if int(of_session) == session:
                command = (folder / "cmdline").read_text().replace("\0", " ")
                waits = sorted((task / "wchan").read_text() for task in (folder / "task").iterdir())
                found.append(f"{folder.name}, child of {parent}, {state}, in {waits}: {command}")
    return found


class Server:
    """A process that can be killed and started again on the same port and data."""

    def __init__(
        self,
        command: list[str],
        port: int,
        folder: Path,
        environment: dict[str, str] | None = None,
        *,
        part: str,
    ) -> None:
        self.port = port
        self._part = part
        self._command, self._folder = command, folder
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections; else the part is unavailable."""
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
                reason = f"{self._command[0]} did not start within {_SECONDS:.0f} s: {said}"
                unavailable(self._part, reason)
            time.sleep(0.05)

    def waits_for_requests(self) -> bool:
        """Return whether it, and every process of its session, waits for a request."""
        assert self._process is not None
        return all("epoll" in one for one in _processes_of(self._process.pid))

    def stop(self, seconds: float = _SECONDS, *, alone: bool = False) -> str:
        """Have it end by itself, or kill it when it does not.

        Args:
            seconds: How long it may take.
            alone: Whether the signal is for the process that was started, and not for its children.

        Returns:
            Nothing where it has ended, else its processes and what they do, and what it has said last. Those
            that have registered it with `faulthandler` say at SIGXCPU where their threads are.
        """
        hung = ""
        if self._process is not None:
            with suppress(ProcessLookupError):
                (os.kill if alone else os.killpg)(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                hung = "\n".join(_processes_of(self._process.pid))
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGXCPU)
                time.sleep(1)
                said = (self._folder / "output.txt").read_text(errors="replace")[-20_000:]
                hung = f"not ended after {seconds:g} s:\n{hung}\n{said}"
        self.kill()
        return hung

    def kill(self) -> None:
        """Kill it, with the processes that it has started in its session."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_SECONDS)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it do nothing for a while, with its connections open."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """A Redis that keeps what it was told over a kill."""
    (port,) = free_ports(1)
    command = [
        *(_binary("redis-server", "redis"), "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    ]
    server = Server(command, port, folder, part="redis")
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
    command = [str(wrapped) if wrapped.exists() else _binary("rabbitmq-server", "rabbitmq")]
    epmd = subprocess.Popen(
        [_binary("epmd", "rabbitmq"), "-port", str(mapper), "-address", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(command, port, folder, environment, part="rabbitmq")
    try:
        server.start()
        yield server
    finally:
        server.kill()
        epmd.kill()
        epmd.wait(_SECONDS)


_KAFKA = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
# After a kill, the controller takes the broker for alive until this is over.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=250
"""


@contextmanager
def kafka_broker(folder: Path) -> Iterator[Server]:
    """Apache Kafka's broker, which keeps its topics over a kill and makes none by itself."""
    need("kafka")
    jars = fetch_kafka.jars()
    port, controller = free_ports(2)
    config = folder / "server.properties"
    config.write_text(_KAFKA.format(port=port, controller=controller, folder=folder))
    java = [
        *("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
        *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"),
    ]
    subprocess.run(
        [
            *(*java, "kafka.tools.StorageTool", "format"),
            *("--config", config, "--cluster-id", "d2FrZWxvZy10ZXN0cy0wMQ"),
        ],
        check=True,
        capture_output=True,
        timeout=_SECONDS,
    )
    command = [*java, "kafka.Kafka", str(config)]
    server = Server(command, port, folder, part="kafka")
    try:
        server.start()
        yield server
    finally:
        server.kill()
