"""What was said is what is recorded: later changes to an object do not reach an accepted event."""

# The objects here break what types promise.
# mypy: disable-error-code="misc, assignment, method-assign, arg-type, dict-item, return-value, override, no-any-return"

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import logging
import threading
import uuid
from collections import UserDict, defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest

import wakelog
from tests.support.journaled import Journaled
from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    AsyncBufferedSink,
    Buffer,
    BufferedSink,
    Durability,
    FanOutSink,
    MemorySink,
    OTelSink,
)
from wakelog.audit import InMemorySessionLog, SessionAuditSink, ThreadKey
from wakelog.gateway import CallbackTransport, EventSessionLogger
from wakelog.integrations.logging import WakelogHandler
from wakelog.record import kept


@dataclasses.dataclass
class Basket:
    items: list[str]


class Order(pydantic.BaseModel):
    items: list[str]


class Wrapped:
    def __init__(self, items: list[str]) -> None:
        self.items = items

    def __str__(self) -> str:
        return str(self.items)


MUTABLE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "list": (lambda: ["said"], lambda v: v.append("LATER")),
    "dict": (lambda: {"k": "said"}, lambda v: v.update(k="LATER")),
    "dict inside": (lambda: {"k": [{"x": "said"}]}, lambda v: v["k"][0].update(x="LATER")),
    "list in a tuple": (lambda: (["said"],), lambda v: v[0].append("LATER")),
    "set": (lambda: {"said"}, lambda v: v.add("LATER")),
    "bytearray": (lambda: bytearray(b"said"), lambda v: v.extend(b"LATER")),
    "memory": (lambda: memoryview(bytearray(b"said ")), lambda v: v.__setitem__(slice(None), b"LATER")),
    "deque": (lambda: deque(["said"]), lambda v: v.append("LATER")),
    "default dict": (lambda: defaultdict(str, k="said"), lambda v: v.update(k="LATER")),
    "user dict": (lambda: UserDict(k="said"), lambda v: v.update(k="LATER")),
    "dataclass": (lambda: Basket(["said"]), lambda v: v.items.append("LATER")),
    "model": (lambda: Order(items=["said"]), lambda v: v.items.append("LATER")),
    "object": (lambda: Wrapped(["said"]), lambda v: v.items.append("LATER")),
    "values": (lambda: {"k": "said"}, lambda v: v.clear()),
}  # fmt: skip


class Gated:
    """A destination that takes an event when everything has been said and changed."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[str] = []

    def write(self, event: AgentEvent) -> None:
        assert self.open.wait(60)
        self.seen.append(repr(event.to_dict()))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def emit(log: AgentLogger, value: Any) -> None:
    log.emit(
        "custom", {"v": value}, metadata={"v": value}, risk={"v": value}, attributes={"v": value}
    )


def result(log: AgentLogger, value: Any) -> None:
    with log.tool("t", {"v": value}) as tool:
        tool.result(value)


def respond(log: AgentLogger, value: Any) -> None:
    with log.model("m", input=value) as call:
        call.respond(value, extra=value)


def directly(log: AgentLogger, value: Any) -> None:
    log.sink.write(AgentEvent("custom", payload={"v": value}, attributes={"v": value}))


def decorated(log: AgentLogger, value: Any) -> None:
    log.tool("t")(lambda v: v)(value)


FRONTS = [emit, result, respond, directly, decorated]


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "as it is"])
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("name", MUTABLE)
@pytest.mark.parametrize("sink", ["buffered", "memory", "fan-out"])
def test_a_sink_that_keeps_events_keeps_what_was_said(
    sink: str, name: str, front: Callable[[AgentLogger, Any], None], redacted: bool
) -> None:
    make, change = MUTABLE[name]
    value, gate, memory = make(), Gated(), MemorySink()
    buffer = BufferedSink(gate, 100)
    into: Any = {"buffered": buffer, "memory": memory, "fan-out": FanOutSink(memory, buffer)}[sink]

    front(AgentLogger("a", sink=into, redact_payloads=redacted), value)
    change(value)
    gate.open.set()
    buffer.close()

    seen = [*gate.seen, *(repr(event.to_dict()) for event in memory.events)]
    assert seen
    assert all("LATER" not in one for one in seen)
    assert any("said" in one or "c2FpZ" in one for one in seen)


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "as it is"])
@pytest.mark.parametrize("name", MUTABLE)
def test_asyncio_keeps_what_was_said_when_it_was_said(name: str, redacted: bool) -> None:
    make, change = MUTABLE[name]
    value, gate = make(), Gated()

    async def run() -> None:
        sink = AsyncBufferedSink(gate, 100)
        log = AsyncAgentLogger("a", sink=sink, redact_payloads=redacted)
        later = log.emit("custom", {"v": value}, attributes={"v": value})
        async with log.tool("t", {"v": value}) as tool:
            tool.result(value)
            change(value)
        await later
        gate.open.set()
        await sink.close()

    asyncio.run(run())

    assert len(gate.seen) == 3
    assert all("LATER" not in one for one in gate.seen)


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "as it is"])
@pytest.mark.parametrize("name", MUTABLE)
def test_the_processors_buffer_keeps_what_was_said(
    tmp_path: Path, name: str, redacted: bool
) -> None:
    make, change = MUTABLE[name]
    value = make()
    journaled = Journaled(tmp_path, buffer=Buffer(capacity=100))
    log = AgentLogger("a", sink=OTelSink(journaled.provider), redact_payloads=redacted)
    handler = WakelogHandler(log=log)

    emit(log, value)
    result(log, value)
    handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 20, "v": value}))
    journaled.provider.get_logger("x").emit(body=kept(value), attributes={"v": "said"})
    change(value)
    journaled.close()

    assert len(journaled.records()) == 5
    assert "LATER" not in repr(journaled.records())


@pytest.mark.parametrize("name", MUTABLE)
def test_an_audit_queue_keeps_what_was_said(name: str) -> None:
    make, change = MUTABLE[name]
    value, opened = make(), threading.Event()

    class Slow(InMemorySessionLog):
        append_now: Any = None  # so that a queue stands in front

        async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
            await asyncio.to_thread(opened.wait, 60)
            return InMemorySessionLog.append_now(self, key, events, 0)

    log = Slow()
    sink = SessionAuditSink(log, ThreadKey("t", "s"))
    sink.emit("custom", {"v": value}, attributes={"v": value})
    change(value)
    opened.set()

    assert sink.flush()
    assert sink.counts().appended == 1
    [logged] = asyncio.run(log.load_since(ThreadKey("t", "s")))
    assert "LATER" not in repr(logged.event.to_dict())


@pytest.mark.parametrize("options", [
    {"enable_local_logging": False},
    {"durability": Durability.FSYNC},
    {"durability": Durability.FSYNC, "log_format": "custom", "formatter": lambda event: repr(dict(event))},
], ids=["memory", "files", "files that cannot be read back"])  # fmt: skip
@pytest.mark.parametrize("name", MUTABLE)
def test_the_gateway_forwards_what_was_said(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    make, change = MUTABLE[name]
    value, seen = make(), []

    async def run() -> None:
        opened = asyncio.Event()

        async def forward(event: Any) -> None:
            await opened.wait()
            seen.append(repr(dict(event)))

        gateway = EventSessionLogger(
            tmp_path, downstream_transport=CallbackTransport(forward), **options
        )
        call = asyncio.ensure_future(gateway({"session_id": "s", "v": value}))
        await asyncio.sleep(0)
        change(value)
        await call
        opened.set()
        assert await gateway.flush()
        await gateway.close()

    asyncio.run(run())

    assert len(seen) == 1
    assert "LATER" not in seen[0]


def test_what_a_logger_or_a_block_was_made_with_stays() -> None:
    tags, sink = ["said"], MemorySink()
    log = AgentLogger("a", sink=sink, default_risk={"t": tags}, metadata={"t": tags})

    with log.run(metadata={"t": tags}), wakelog.bound(t=tags):
        tags.append("LATER")
        log.emit("custom")

    assert len(sink.events) == 3
    assert "LATER" not in repr([event.to_dict() for event in sink.events])


def test_a_copy_keeps_what_cannot_change_as_it_is() -> None:
    class Colour(enum.Enum):
        RED = "red"

    values = ("x", 1, 1.5, None, b"x", dt.datetime(2026, 1, 2), uuid.uuid4(), decimal.Decimal("1.10"),
              Path("/x"), Colour.RED, frozenset({1}))  # fmt: skip

    assert kept(values) == values
    assert all(one is other for one, other in zip(kept(values[:-1]), values[:-1], strict=True))
