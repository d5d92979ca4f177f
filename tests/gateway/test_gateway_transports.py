"""The transports, each with the real other side where there is one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from tests.support.collector import free_ports
from tests.support.servers import rabbitmq_server, redis_server
from tests.support.waiting import until_in_loop as until
from wakelog.errors import ConfigurationError
from wakelog.gateway import (
    CircuitState,
    EventSessionLogger,
    ForwardedEvent,
    HTTPTransport,
    KafkaTransport,
    LoggingTransport,
    NullTransport,
    OTelTransport,
    RabbitMQTransport,
    RedisStreamTransport,
    TransportConnectionError,
    TransportInterface,
)
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor

SECONDS = 60
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.02, "close_timeout_seconds": 5}
EVENT = ForwardedEvent({"n": 1, "raw": b"\0"}, "id-1", "s-1", 1_700_000_000_000_000_000, "ping")


async def log(logger: EventSessionLogger, numbers: range) -> None:
    for n in numbers:
        assert await logger({"session_id": f"s{n % 2}", "n": n})


async def through_an_outage(
    base: Path, transport: TransportInterface, stop: Callable[[], None], start: Callable[[], None]
) -> int:
    """Log and forward events all the time, with the other side gone in the middle; return how many."""
    over = asyncio.Event()

    async def keep_logging(logger: EventSessionLogger) -> int:
        count = 0
        while not over.is_set():
            await log(logger, range(count, count + 2))
            count += 2
            await asyncio.sleep(0.01)
        return count

    async with EventSessionLogger(base, None, transport, **QUICK) as logger:
        feeding = asyncio.ensure_future(keep_logging(logger))
        await until(lambda: logger.stats().forwarded > 30)
        assert transport.is_connected
        await asyncio.to_thread(stop)
        await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
        await asyncio.to_thread(start)
        await until(lambda: logger.stats().circuit_state is CircuitState.CLOSED)
        over.set()
        count = await feeding
        assert await logger.flush(SECONDS), logger.stats()
        assert (logger.stats().logged, logger.stats().local_errors) == (count, 0)
    return count


def numbers_by_session(messages: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Return each session's numbers in order; what came twice stands where it came first."""
    found: dict[str, list[int]] = {}
    for message in {message["id"]: message for message in reversed(messages)}.values():
        found.setdefault(message["session_id"], []).insert(0, message["event"]["n"])
    return found


def expected(count: int) -> dict[str, list[int]]:
    return {f"s{k}": list(range(k, count, 2)) for k in (0, 1)}


class Webhook:
    """An HTTP server that notes what is posted to it and answers as it is told."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.answers: list[int] = []
        self.received: list[tuple[bytes, dict[str, str]]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def bodies(self) -> list[bytes]:
        return [body for body, _ in self.received]

    def start(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = hook.answers.pop(0) if hook.answers else 204
                if status < 300:
                    headers = {k.lower(): v for k, v in self.headers.items()}
                    hook.received.append((body, headers))
                self.send_response(status)
                if status == 302:
                    self.send_header("location", f"http://127.0.0.1:{hook.port}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.mark.attack(runs=10)
def test_http_events_arrive_over_an_outage_of_the_webhook(tmp_path: Path) -> None:
    hook = Webhook()
    hook.start()
    transport = HTTPTransport(f"http://127.0.0.1:{hook.port}/events", headers={"x-key": "k"})
    try:
        count = asyncio.run(through_an_outage(tmp_path, transport, hook.stop, hook.start))
    finally:
        hook.stop()

    assert all(body.endswith(b"\n") for body in hook.bodies)
    messages = [json.loads(body) for body in hook.bodies]
    assert numbers_by_session(messages) == expected(count)
    for (_, headers), message in zip(hook.received, messages, strict=True):
        assert headers["content-type"] == "application/x-ndjson"
        assert headers["idempotency-key"] == message["id"]
        assert headers["x-key"] == "k"


def test_http_only_2xx_is_success_and_what_is_refused_for_good_is_set_aside(tmp_path: Path) -> None:
    hook = Webhook()
    hook.start()
    hook.answers = [302, 503, 401, 429, 201, 422, 200]
    transport = HTTPTransport(f"http://127.0.0.1:{hook.port}/")

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            for n in range(3):
                await logger({"session_id": "s", "n": n})
            assert await logger.flush(SECONDS)
            stats = logger.stats()
            assert (stats.forwarded, stats.rejected, stats.transport_errors) == (2, 1, 4)

    try:
        asyncio.run(run())
    finally:
        hook.stop()

    assert [json.loads(body)["event"]["n"] for body in hook.bodies] == [0, 2]


@pytest.mark.attack(runs=10)
def test_redis_events_are_in_the_stream_over_a_kill_of_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        transport = RedisStreamTransport(url, stream="events")
        count = asyncio.run(
            through_an_outage(tmp_path / "logs", transport, server.kill, server.start)
        )

        import redis

        with redis.Redis.from_url(url) as client:
            entries: Any = client.xrange("events")
    fields = [entry for _, entry in entries]
    messages = [json.loads(entry[b"message"]) for entry in fields]
    assert numbers_by_session(messages) == expected(count)
    assert [f[b"id"].decode() for f in fields] == [message["id"] for message in messages]


@pytest.mark.attack(runs=10)
@pytest.mark.timeout(240)
def test_rabbitmq_messages_are_in_the_queue_over_a_kill_of_the_broker(tmp_path: Path) -> None:
    folder = tmp_path / "rabbitmq"
    folder.mkdir()
    with rabbitmq_server(folder) as server:

        def kill() -> None:
            machine = int((folder / "pid").read_text())  # the Erlang VM, not the shell above it
            assert "beam" in Path(f"/proc/{machine}/comm").read_text()
            os.kill(machine, signal.SIGKILL)
            server.kill()

        url = f"amqp://guest:guest@127.0.0.1:{server.port}/"
        transport = RabbitMQTransport(url, routing_key="events", queue="events")
        count = asyncio.run(through_an_outage(tmp_path / "logs", transport, kill, server.start))
        unroutable = RabbitMQTransport(url, routing_key="nobody")
        messages = asyncio.run(consumed(url, unroutable))

    assert numbers_by_session([json.loads(m.body) for m in messages]) == expected(count)
    assert all(m.message_id == json.loads(m.body)["id"] for m in messages)


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that is ready, with a classic queue `old`."""
    import aio_pika

    async def ready() -> None:
        deadline = time.monotonic() + SECONDS
        while True:  # it accepts connections sooner than it talks
            try:
                connection = await aio_pika.connect(url)
                break
            except (aio_pika.exceptions.AMQPError, OSError):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        async with connection:
            await (await connection.channel()).declare_queue("old", durable=True)

    with rabbitmq_server(tmp_path_factory.mktemp("rabbitmq")) as server:
        url = f"amqp://guest:guest@127.0.0.1:{server.port}/"
        asyncio.run(ready())
        yield url


def test_rabbitmq_a_queue_of_another_type_is_an_error_that_says_what_to_do(rabbitmq: str) -> None:
    async def run() -> None:
        transport = RabbitMQTransport(rabbitmq, routing_key="old", queue="old")
        with pytest.raises(TransportConnectionError) as failed:
            await transport.send(EVENT)
        await transport.close()
        said = str(failed.value)
        assert "cannot declare the queue 'old' as a durable queue of the type 'quorum'" in said
        assert "inequivalent arg 'x-queue-type'" in said
        assert "pass its type as queue_type=" in said

        as_it_is = RabbitMQTransport(rabbitmq, routing_key="old", queue="old", queue_type="classic")
        assert await as_it_is.send(EVENT)
        await as_it_is.close()
        not_declared = RabbitMQTransport(rabbitmq, routing_key="old")
        assert await not_declared.send(EVENT)
        await not_declared.close()

    asyncio.run(run())


def test_rabbitmq_nothing_is_sent_to_a_new_queue_that_a_kill_could_lose(rabbitmq: str) -> None:
    async def run() -> None:
        transport = RabbitMQTransport(rabbitmq, routing_key="new", queue="new")
        begin = time.monotonic()
        with pytest.raises(TimeoutError):  # as a short send_timeout_seconds would have it
            async with asyncio.timeout(1):
                await transport.send(EVENT)
        assert await transport.send(EVENT)
        assert time.monotonic() - begin >= 3
        await transport.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["classic", "stream"])
def test_rabbitmq_a_queue_of_each_type_takes_events(rabbitmq: str, kind: str) -> None:
    async def run() -> None:
        transport = RabbitMQTransport(rabbitmq, routing_key=kind, queue=kind, queue_type=kind)
        assert await transport.send(EVENT)
        assert await transport.health_check()
        await transport.close()

    asyncio.run(run())


async def consumed(url: str, unroutable: TransportInterface) -> list[Any]:
    import aio_pika

    with pytest.raises(TransportConnectionError):
        await unroutable.send(EVENT)
    await unroutable.close()
    found = []
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("events")
        while (message := await queue.get(fail=False)) is not None:
            await message.ack()
            found.append(message)
    return found


def test_otel_events_become_log_records_of_the_users_provider(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, OTelTransport(provider), **QUICK) as logger:
            await logger(
                {"session_id": "s-1", "event_type": "tool_call", "tool_name": "search", "x": [None]}
            )
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    (data,) = exporter.get_finished_logs()
    record: Any = data.log_record
    (file,) = (tmp_path / "s-1").glob("*.jsonl")
    (entry,) = read(file)
    assert record.event_name == "wakelog.tool_call"
    assert record.timestamp == entry.record.timestamp
    assert dict(record.attributes) == {
        "gen_ai.conversation.id": "s-1",
        "gen_ai.tool.name": "search",
        "log.record.uid": entry.record.id,
    }
    assert dict(record.body)["x"] in ([None], (None,))


def test_otel_events_are_in_the_journal_under_the_id_of_their_line(tmp_path: Path) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = InMemoryLogRecordExporter()
    processor = DurableLogRecordProcessor(exporter, directory=tmp_path / "journal")
    provider.add_log_record_processor(processor)

    async def run() -> None:
        async with EventSessionLogger(
            tmp_path / "logs", None, OTelTransport(provider), **QUICK
        ) as logger:
            await log(logger, range(10))
            assert await logger.flush(SECONDS)

    asyncio.run(run())
    provider.shutdown()

    files = (tmp_path / "logs").rglob("*.jsonl")
    logged = {entry.record.id for file in files for entry in read(file)}
    assert {entry.record.id for entry in read(tmp_path / "journal")} == logged
    assert len(logged) == 10


def test_the_logging_transport_writes_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "event_transport"):
        assert asyncio.run(LoggingTransport().send(EVENT))
    (line,) = caplog.messages
    assert json.loads(line)["id"] == "id-1"


def test_the_null_transport_takes_everything() -> None:
    async def run() -> None:
        transport = NullTransport()
        assert transport.is_connected
        assert await transport.health_check()
        assert await transport.send(EVENT)
        await transport.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "make, module, extra",
    [
        (lambda: HTTPTransport("http://127.0.0.1:1"), "httpx", "http"),
        (RedisStreamTransport, "redis.asyncio", "redis"),
        (KafkaTransport, "aiokafka", "kafka"),
        (RabbitMQTransport, "aio_pika", "rabbitmq"),
    ],
    ids=["http", "redis", "kafka", "rabbitmq"],
)
def test_a_missing_extra_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], object], module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'wakelog\[{extra}\]'"):
        make()


@pytest.mark.parametrize(
    "make, allowed",
    [
        (lambda: HTTPTransport("localhost:8080/events"), "http:// or https://"),
        (lambda: RedisStreamTransport("localhost"), "redis:// or rediss:// or unix://"),
        (lambda: RabbitMQTransport("guest:secret@localhost"), "amqp:// or amqps://"),
    ],
    ids=["http", "redis", "rabbitmq"],
)
def test_an_address_that_is_none_is_told_at_once_without_what_it_holds(
    make: Callable[[], object], allowed: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"has to begin with {allowed}") as raised:
        make()
    assert "secret" not in str(raised.value)


def test_a_type_of_a_queue_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="use one of quorum, classic, stream"):
        RabbitMQTransport(queue_type="mirrored")


def test_what_is_no_logger_provider_is_told_at_once() -> None:
    provider: Any = "global"
    with pytest.raises(ConfigurationError, match="logger_provider='global' has no get_logger"):
        OTelTransport(provider)


def test_a_closed_transport_says_so() -> None:
    async def run() -> None:
        for transport in (HTTPTransport("http://127.0.0.1:1"), RedisStreamTransport()):
            await transport.close()
            assert not transport.is_connected
            with pytest.raises(TransportConnectionError, match="closed"):
                await transport.send(EVENT)

    asyncio.run(run())
