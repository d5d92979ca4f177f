"""What is meant for one destination never goes to another, whoever starts next in the directory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.figures import Meter
from tests.support.waiting import until_in_loop as until
from wakelog.gateway import (
    CallbackTransport,
    EventSessionLogger,
    HTTPTransport,
    KafkaTransport,
    LoggingTransport,
    NullTransport,
    OTelTransport,
    RabbitMQTransport,
    RedisStreamTransport,
    TransportInterface,
)
from wakelog.gateway._owner import name_of
from wakelog.journal import Service

SECONDS = 60
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.01, "send_timeout_seconds": 0.2}


class Hop(TransportInterface):
    """A transport to a named place, which may be down."""

    def __init__(self, place: str, *, down: bool = False) -> None:
        self.place, self.down = place, down
        self.taken: list[int] = []

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        if not self.down:
            self.taken.append(event.n)
        return not self.down

    @property
    def destination(self) -> str:
        return f"hop to {self.place}"


async def leave(base: Path, numbers: range, hop: Hop, **more: Any) -> None:
    """Log events that are not forwarded, and end."""
    hop.down = True
    logger = EventSessionLogger(base, None, hop, **QUICK, **more, close_timeout_seconds=0)
    for n in numbers:
        await logger({"session_id": f"s{n % 2}", "n": n})
    await logger.close()
    hop.down = False


async def start(base: Path, hop: Hop, **more: Any) -> EventSessionLogger:
    logger = EventSessionLogger(base, None, hop, **QUICK, **more)
    await logger.__aenter__()
    assert await logger.flush(SECONDS)
    return logger


def test_another_destination_gets_nothing_and_the_same_one_gets_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Hop("one"), Hop("two")
    meter = Meter()

    async def run() -> None:
        await leave(tmp_path, range(10), one)
        stranger = await start(tmp_path, two, meter_provider=meter.provider)
        assert two.taken == []
        assert (stranger.stats().elsewhere, stranger.stats().pending) == (10, 0)
        scrape = meter.read()
        assert scrape("wakelog.gateway.pending.elsewhere") == 10
        assert scrape("wakelog.gateway.events.accepted") == 0
        again = await start(tmp_path, one)
        assert sorted(one.taken) == list(range(10))
        assert stranger.stats().elsewhere == 0
        await again.close()
        await stranger.close()

    with caplog.at_level(logging.WARNING, "wakelog"):
        asyncio.run(run())

    (said,) = [message for message in caplog.messages if "wait for the" in message]
    assert said.startswith(f"10 events in {tmp_path} wait for the pipeline 'hop to one'")
    assert "pipeline='hop to one'" in said
    assert two.taken == []


def test_a_name_that_is_given_follows_to_any_destination(tmp_path: Path) -> None:
    one, two = Hop("one"), Hop("two")

    async def run() -> None:
        await leave(tmp_path, range(6), one, pipeline="audit")
        await (await start(tmp_path, two, pipeline="audit")).close()
        await leave(tmp_path, range(6, 9), one)
        await (await start(tmp_path, two, pipeline="hop to one")).close()

    asyncio.run(run())

    assert (one.taken, sorted(two.taken)) == ([], list(range(9)))


def test_the_variable_names_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Hop("one"), Hop("two")
    asyncio.run(leave(tmp_path, range(4), one, pipeline="audit"))
    monkeypatch.setenv("WAKELOG_PIPELINE", "audit")

    async def run() -> None:
        await (await start(tmp_path, two)).close()

    asyncio.run(run())

    assert sorted(two.taken) == list(range(4))


@pytest.mark.parametrize(
    "theirs, ours, same",
    [
        ({"OTEL_SERVICE_NAME": "shop"}, {"OTEL_SERVICE_NAME": "bank"}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, {}, False),
        (
            {"OTEL_SERVICE_NAME": "shop"},
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,a=b"},
            True,
        ),
        (
            {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=eu"},
            {"OTEL_SERVICE_NAME": "shop"},
            False,
        ),
    ],
)
def test_another_services_events_are_left_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    theirs: Mapping[str, str],
    ours: Mapping[str, str],
    same: bool,
) -> None:
    hop = Hop("one")
    for environment, work in (
        (theirs, lambda: leave(tmp_path, range(4), hop)),
        (ours, lambda: start(tmp_path, hop)),
    ):
        with monkeypatch.context() as set_to:
            set_to.delenv("OTEL_SERVICE_NAME", raising=False)
            set_to.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
            for name, value in environment.items():
                set_to.setenv(name, value)
            asyncio.run(work())

    assert sorted(hop.taken) == (list(range(4)) if same else [])


def test_what_waits_in_a_living_logger_follows_its_new_destination_and_so_does_what_it_leaves(
    tmp_path: Path,
) -> None:
    one, two, three = Hop("one", down=True), Hop("two", down=True), Hop("three")

    async def run() -> None:
        logger = EventSessionLogger(tmp_path, None, one, **QUICK, close_timeout_seconds=0)
        for n in range(4):
            await logger({"session_id": "s", "n": n})
        logger.update_downstream_transport(two)
        await logger.close()
        two.down = one.down = False
        for hop in (three, one, two):
            await (await start(tmp_path, hop)).close()

    asyncio.run(run())

    assert (one.taken, two.taken, three.taken) == ([], [0, 1, 2, 3], [])


def test_two_pipelines_at_the_same_time_each_recover_their_own(tmp_path: Path) -> None:
    one, two = Hop("one"), Hop("two")

    async def run() -> None:
        await leave(tmp_path, range(4), one)
        await leave(tmp_path, range(4, 8), two)
        loggers = [await start(tmp_path, one), await start(tmp_path, two)]
        await until(lambda: all(logger.stats().elsewhere == 0 for logger in loggers))
        for logger in loggers:
            await logger.close()

    asyncio.run(run())

    assert (sorted(one.taken), sorted(two.taken)) == ([0, 1, 2, 3], [4, 5, 6, 7])


def test_what_an_older_version_left_belongs_to_whoever_comes(tmp_path: Path) -> None:
    hop = Hop("one")
    asyncio.run(leave(tmp_path, range(4), hop))
    (lock,) = (tmp_path / ".wakelog").glob("*.lock")
    lock.write_bytes(b"")
    other = Hop("two")

    async def run() -> None:
        await (await start(tmp_path, other)).close()

    asyncio.run(run())

    assert sorted(other.taken) == list(range(4))


class Tool:
    """Something with callbacks."""

    def method(self, event: object) -> None: ...

    def __call__(self, event: object) -> None: ...


SECRET = "hunter2"


def test_destinations_have_names_without_secrets_that_tell_them_apart() -> None:
    def http(url: str, **more: Any) -> HTTPTransport:
        return HTTPTransport(url, **more)

    different: list[object] = [
        http("http://a/x"),
        http("http://a/y"),
        http("http://b/x"),
        http(f"http://u:{SECRET}@a/x"),
        http(f"http://a/x?key={SECRET}"),
        http("http://a/x?key=other"),
        http("http://a/x", headers={"authorization": SECRET}),
        http("http://a/x", headers={"authorization": "other"}),
        RedisStreamTransport(f"redis://:{SECRET}@a:1/0"),
        RedisStreamTransport(f"redis://:{SECRET}@a:1/1"),
        RedisStreamTransport("redis://a:1/0", stream="other"),
        KafkaTransport("a:1"),
        KafkaTransport(["a:1", "b:1"]),
        KafkaTransport("a:1", topic="other"),
        RabbitMQTransport(f"amqp://u:{SECRET}@a/"),
        RabbitMQTransport("amqp://a/", routing_key="other"),
        RabbitMQTransport("amqp://a/v"),
        NullTransport(),
        LoggingTransport(),
        OTelTransport(),
        print,
        Tool().method,
        Tool(),
        CallbackTransport(len),
    ]

    names = [name_of(one) for one in different]

    assert len(set(names)) == len(names), names
    assert SECRET not in " ".join(names)
    assert name_of(Tool().method) == f"{__name__}.Tool.method"
    assert name_of(http("http://a/x", headers={"Authorization": SECRET})) == names[6]


def test_without_a_name_the_service_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "nonsense,=,a=b")
    assert str(Service.of_environment()) == "unknown_service"
