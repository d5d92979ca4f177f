"""KafkaTransport against Apache Kafka's own broker, which is killed in the middle of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import free_ports
from tests.support.servers import Server, kafka_broker
from tests.support.waiting import until_in_loop as until
from wakelog.errors import ConfigurationError
from wakelog.gateway import (
    EventSessionLogger,
    ForwardedEvent,
    KafkaTransport,
    TransportConnectionError,
)

SECONDS = 60
SESSIONS, EVENTS = 5, 60
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.05, "send_timeout_seconds": 5}
EVENT = ForwardedEvent({"n": 1, "raw": b"\0"}, "id-1", "s-1", 1_700_000_000_000_000_000, "ping")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker for all tests of this file, each of which has a topic of its own."""
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as server:
        yield server


async def log(logger: EventSessionLogger, begin: int, end: int) -> None:
    for n in range(begin, end):
        for k in range(SESSIONS):
            assert await logger({"session_id": f"s{k}", "n": n})
        await asyncio.sleep(0.002)


def address(broker: Server) -> str:
    return f"127.0.0.1:{broker.port}"


async def make(broker: Server, topic: str) -> None:
    """Make a topic."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=address(broker))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()


async def consumed(broker: Server, topic: str) -> list[Any]:
    """Return everything that the broker has of a topic."""
    import aiokafka

    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=address(broker), auto_offset_reset="earliest"
    )
    await consumer.start()
    found = []
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                batches = await consumer.getmany(partition, timeout_ms=1000)
                found += [one for batch in batches.values() for one in batch]
    finally:
        await consumer.stop()
    return found


def numbers(records: list[Any]) -> dict[str, list[int]]:
    """Return each session's numbers in the order in which they first came."""
    seen: dict[str, list[int]] = {}
    ids: set[str] = set()
    for record in records:
        message = json.loads(record.value)
        if message["id"] not in ids:
            ids.add(message["id"])
            seen.setdefault(message["session_id"], []).append(message["event"]["n"])
    return seen


EXPECTED = {f"s{k}": list(range(EVENTS)) for k in range(SESSIONS)}


def test_events_are_in_the_topic_in_order_with_their_session_as_key(
    tmp_path: Path, broker: Server
) -> None:
    async def run() -> list[Any]:
        await make(broker, "plain")
        transport = KafkaTransport(address(broker), topic="plain")
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            await log(logger, 0, EVENTS)
            assert await logger.flush(SECONDS)
            assert transport.is_connected
            assert logger.stats().transport_errors == 0
        return await consumed(broker, "plain")

    records = asyncio.run(run())

    assert numbers(records) == EXPECTED
    assert len(records) == SESSIONS * EVENTS, "an event came twice"
    for record in records:
        message = json.loads(record.value)
        assert record.key == message["session_id"].encode()
        assert record.headers == (("id", message["id"].encode()),)
    partitions = {(record.key, record.partition) for record in records}
    assert len(partitions) == SESSIONS, "a session is in two partitions"


def test_nothing_is_missing_after_a_kill_of_the_broker_in_the_middle(
    tmp_path: Path, broker: Server
) -> None:
    over = asyncio.Event()

    async def keep_logging(logger: EventSessionLogger) -> int:
        count = 0
        while not over.is_set():
            await log(logger, count, count + 1)
            count += 1
            await asyncio.sleep(0.01)
        return count

    async def run() -> tuple[int, list[Any]]:
        await make(broker, "killed")
        transport = KafkaTransport(address(broker), topic="killed")
        quick = {**QUICK, "send_timeout_seconds": 2}
        async with EventSessionLogger(tmp_path, None, transport, **quick) as logger:
            feeding = asyncio.ensure_future(keep_logging(logger))
            await until(lambda: logger.stats().forwarded > EVENTS)
            await asyncio.to_thread(broker.kill)
            await until(lambda: logger.stats().transport_errors)
            assert logger.stats().pending > 0
            await asyncio.to_thread(broker.start)
            over.set()
            count = await feeding
            assert await logger.flush(SECONDS), logger.stats()
            assert logger.stats().local_errors == 0
        return count, await consumed(broker, "killed")

    count, records = asyncio.run(run())

    assert numbers(records) == {f"s{k}": list(range(count)) for k in range(SESSIONS)}


def test_an_event_is_forwarded_when_the_broker_says_so_and_not_before(
    tmp_path: Path, broker: Server
) -> None:
    async def run() -> list[Any]:
        await make(broker, "stopped")
        transport = KafkaTransport(address(broker), topic="stopped")
        async with EventSessionLogger(
            tmp_path, None, transport, retry_delay_seconds=0.05, send_timeout_seconds=1
        ) as logger:
            await log(logger, 0, 10)
            assert await logger.flush(SECONDS)
            # What is given up meanwhile is closed before the end: a leak would fail the test.
            with broker.stopped():
                await log(logger, 10, EVENTS)
                await until(lambda: logger.stats().transport_errors)
                assert logger.stats().forwarded == 10 * SESSIONS
                assert logger.stats().pending == (EVENTS - 10) * SESSIONS
            assert await logger.flush(SECONDS), logger.stats()
        return await consumed(broker, "stopped")

    assert numbers(asyncio.run(run())) == EXPECTED


def test_a_topic_that_does_not_exist_is_told_and_used_once_it_is_made(
    tmp_path: Path, broker: Server
) -> None:
    told: list[str] = []

    async def run() -> list[Any]:
        transport = KafkaTransport(address(broker), topic="late")
        async with EventSessionLogger(
            tmp_path,
            None,
            transport,
            error_handler=lambda error, _: told.append(str(error)),
            **QUICK,
        ) as logger:
            await log(logger, 0, 2)
            await until(lambda: told)
            await make(broker, "late")
            assert await logger.flush(SECONDS)
        return await consumed(broker, "late")

    assert numbers(asyncio.run(run())) == {f"s{k}": [0, 1] for k in range(SESSIONS)}
    assert "there is no topic 'late' for this client: make the topic" in told[0]


@pytest.mark.parametrize(
    "servers, why",
    [
        ("127.0.0.1:{port}", "Unable to bootstrap"),
        ("no-such-host.invalid:{port}", "Unable to bootstrap"),
    ],
)
def test_a_bad_address_is_told_with_the_address(servers: str, why: str) -> None:
    (port,) = free_ports(1)
    servers = servers.format(port=port)

    async def run() -> None:
        transport = KafkaTransport(servers)
        with pytest.raises(TransportConnectionError, match=f"Kafka at '{servers}'.*{why}"):
            await transport.send(EVENT)
        await transport.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "servers",
    [
        "127.0.0.1:kafka",
        "a:1,bob:secret@b:1",
        ["a:1", "kafka://b:1"],
        "dad:beef",
        "a:123456",
        "a:1/x",
        "",
        "a b",
    ],
)
def test_an_address_that_is_none_is_told_at_once_without_what_may_be_secret(
    servers: str | list[str],
) -> None:
    with pytest.raises(ConfigurationError, match=r"bootstrap_servers .* host:port") as told:
        KafkaTransport(servers)
    assert not any(secret in str(told.value) for secret in ("secret", "beef"))


@pytest.mark.parametrize(
    "servers", ["a", "a:1", "a_b-c.d:9092, e:1", "[::1]:9092", "::1", "fe80::1", ("a:1", "b:2")]
)
def test_addresses_that_the_client_takes_are_taken(servers: str | tuple[str, ...]) -> None:
    KafkaTransport(servers)


def test_an_option_that_does_not_exist_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no option securty_protocol"):
        KafkaTransport(securty_protocol="SSL")


def test_without_a_broker_events_wait_and_nothing_worse(tmp_path: Path) -> None:
    (port,) = free_ports(1)

    async def run() -> None:
        async with EventSessionLogger(
            tmp_path, None, KafkaTransport(f"127.0.0.1:{port}"), max_retry_attempts=0, **QUICK
        ) as logger:
            assert await logger({"session_id": "s", "n": 1})
            await until(lambda: logger.stats().transport_errors)
            assert logger.stats().pending == 1

    asyncio.run(run())


def test_messages_are_keyed_by_session_and_name_their_id() -> None:
    message = KafkaTransport("127.0.0.1:1", topic="events").message(EVENT)

    assert message["key"] == b"s-1"
    assert message["headers"] == [("id", b"id-1")]
    assert message["timestamp_ms"] == 1_700_000_000_000
    assert json.loads(message["value"]) == {
        "id": "id-1",
        "session_id": "s-1",
        "timestamp": "2023-11-14T22:13:20.000000000Z",
        "event_name": "ping",
        "event": {"n": 1, "raw": {"$wakelog": "bytes", "value": "AA=="}},
    }
