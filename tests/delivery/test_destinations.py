"""What every destination of delivery holds to: the same tests for log records, spans, callbacks, transports and brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.support.delivering import Bench, Hop
from wakelog.delivery import ExportRound, Outcome
from wakelog.errors import JournalError, SerializationError
from wakelog.gateway import CallbackTransport, ForwardedEvent, TransportInterface
from wakelog.gateway._books import GatewayBooks, GatewayCounters, RunBooks
from wakelog.gateway._dead_letters import DeadLetters
from wakelog.gateway._dispatch import Dispatch
from wakelog.gateway._downstream import Downstream
from wakelog.gateway._lanes import MemoryLane
from wakelog.gateway._ledger import FileMark, Item
from wakelog.gateway._settings import Settings
from wakelog.gateway.transports._interface import ClientTransport
from wakelog.journal import Cursor, Journal, Mark, books, dead_letters
from wakelog.otel import DurableSpanProcessor
from wakelog.otel._content import ContentPolicy
from wakelog.otel._export_pipeline import ExportPipeline, Signal, log_records
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._settings import Batching
from wakelog.otel._span_records import SpanRebuilder, spans
from wakelog.record import Resource, encode, uuid7

COUNT = 12
RESOURCE = Resource({"service.name": "tests"})


class NextHop:
    """Takes numbers, until it is down; some it never takes."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.never: set[int] = set()
        self.down_after: int | None = None
        self.attempts_while_down = 0

    @property
    def is_down(self) -> bool:
        return self.down_after is not None and len(self.arrived) >= self.down_after

    def take(self, numbers: Sequence[int]) -> None:
        """Take all of them, or none."""
        if self.is_down:
            self.attempts_while_down += 1
            raise ConnectionError("down")
        if self.never & set(numbers):
            raise TypeError("no such field")
        self.arrived += numbers


class Sender(Protocol):
    """A destination with numbered entries to send to it."""

    entries: list[Any]

    def send(self, entries: Sequence[Any]) -> ExportRound[Any]: ...

    def dead(self) -> list[int]: ...


class Exporter(LogRecordExporter):
    def __init__(self, hop: NextHop) -> None:
        self.hop = hop

    def export(self, batch: Any) -> LogRecordExportResult:
        bodies = [record.log_record.body for record in batch]
        self.hop.take([body for body in bodies if isinstance(body, int)])
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class LogRecords:
    """Log records, through the SDK's batch processor and an exporter of somebody's."""

    def __init__(self, root: Path, hop: NextHop) -> None:
        journal = Journal(root)
        for number in range(COUNT):
            journal.append(uuid7(), encode({"body": number}, 1 << 20), RESOURCE)
        self.folder = journal.open_writers[0].folder.path
        journal.close()
        self.entries = self.read()
        self.pipeline = self.made(Exporter(hop), log_records(Rebuilder(ContentPolicy())))

    def read(self) -> list[Any]:
        cursor = Cursor(self.folder, Mark(), complete=True)
        entries: list[Any] = cursor.read(COUNT, 1 << 20).entries
        cursor.close()
        return entries

    def made(self, exporter: Any, signal: Signal) -> ExportPipeline:
        return ExportPipeline(
            exporter, signal, Batching(3_600_000, batch=4, timeout=30_000, queue=COUNT)
        )

    def send(self, entries: Sequence[Any]) -> ExportRound[Any]:
        sending: ExportRound[Any] = ExportRound(entries, folder=self.folder)
        self.pipeline.send(sending)
        return sending

    def dead(self) -> list[int]:
        return [one.entry().record.body for one in dead_letters(self.folder)]  # type: ignore[misc]


class SpansOut(SpanExporter):
    def __init__(self, hop: NextHop) -> None:
        self.hop = hop

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.hop.take([int(span.name) for span in spans])
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


class Spans(LogRecords):
    """Spans, through the SDK's batch processor of theirs."""

    def __init__(self, root: Path, hop: NextHop) -> None:
        processor = DurableSpanProcessor(None, directory=root, starts=False)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        for number in range(COUNT):
            provider.get_tracer("tests").start_span(str(number)).end()
        self.folder = processor.journal.open_writers[0].folder.path
        provider.shutdown()
        self.entries = self.read()
        self.pipeline = self.made(SpansOut(hop), spans(SpanRebuilder()))

    def dead(self) -> list[int]:
        folder = self.folder
        return [int((one.entry().record.span or {})["name"]) for one in dead_letters(folder)]


class _Transport(TransportInterface):
    def __init__(self, hop: NextHop) -> None:
        self.hop = hop

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        take(self.hop, event)
        return True


class _Broker(ClientTransport[NextHop]):
    """A client library's face: it connects first, and its errors are its own."""

    def __init__(self, hop: NextHop) -> None:
        super().__init__()
        self.hop = hop

    async def _connect(self) -> NextHop:
        return self.hop

    async def _disconnect(self, client: NextHop) -> None: ...

    async def _ping(self, client: NextHop) -> bool:
        return not client.is_down

    async def _send(self, client: NextHop, event: ForwardedEvent, metadata: Any) -> bool:
        await asyncio.sleep(0)
        take(client, event)
        return True


def take(hop: NextHop, event: ForwardedEvent) -> None:
    try:
        hop.take([event["n"]])
    except TypeError as error:
        raise SerializationError(str(error)) from error


class Events:
    """Events of a session, to a callback or a transport."""

    def __init__(
        self, root: Path, callback: Any = None, transport: TransportInterface | None = None
    ) -> None:
        counters = GatewayCounters(GatewayBooks(are_read=False))
        self.letters = DeadLetters(root, 100)
        settings = Settings(
            max_retry_attempts=1,
            retry_delay_seconds=0.001,
            send_timeout_seconds=5,
            concurrency=1,
            max_probe_attempts=2,
        )
        self.downstream = Downstream(callback, transport, settings, lambda *_: None, counters)
        self.dispatch = Dispatch(self.downstream, settings, self.letters)
        self.lane = MemoryLane(RunBooks(own=True), None)
        events = [ForwardedEvent({"n": n}, uuid7(), "session", 1) for n in range(COUNT)]
        self.entries: list[Any] = [Item(event, FileMark()) for event in events]

    def send(self, entries: Sequence[Any]) -> ExportRound[Any]:
        async def run() -> ExportRound[Any]:
            self.downstream.begin(lambda: None)
            sending: ExportRound[Any] = ExportRound(entries, self.lane)
            async with asyncio.timeout(30):
                await self.dispatch.send(sending)
            self.downstream.end()
            return sending

        return asyncio.run(run())

    def dead(self) -> list[int]:
        return [_n(found.letter.entry().record.body) for found in self.letters.find(None, None)]


def _n(body: Any) -> int:
    return int(body["n"])


DESTINATIONS: dict[str, Callable[[Path, NextHop], Sender]] = {
    "log records": LogRecords,
    "spans": Spans,
    "callback": lambda root, hop: Events(
        root, CallbackTransport(lambda event: take(hop, event)), None
    ),
    "transport": lambda root, hop: Events(root, None, _Transport(hop)),
    "broker": lambda root, hop: Events(root, None, _Broker(hop)),
    "callback, then transport": lambda root, hop: Events(
        root, CallbackTransport(lambda event: take(hop, event)), _Transport(hop)
    ),
}


@pytest.fixture(params=DESTINATIONS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sender, NextHop]:
    hop = NextHop()
    return DESTINATIONS[request.param](tmp_path, hop), hop


def test_what_is_taken_is_acknowledged_in_order_and_once(made: tuple[Sender, NextHop]) -> None:
    sender, hop = made

    sent = sender.send(sender.entries)

    assert sent.is_complete
    assert (sent.dead_lettered, sent.stopped) == (0, None)
    assert hop.arrived == list(range(COUNT))


@pytest.mark.parametrize("before", [0, 5, 8])
def test_a_round_stops_at_what_did_not_get_through_and_goes_on_from_there(
    made: tuple[Sender, NextHop], before: int
) -> None:
    sender, hop = made
    hop.down_after = before

    sent = sender.send(sender.entries)

    assert sent.stopped is not None
    assert sent.stopped.kind is Outcome.RETRYABLE
    assert sent.acknowledged <= len(hop.arrived)
    assert hop.arrived[: sent.acknowledged] == list(range(sent.acknowledged))
    assert sent.dead_lettered == 0, "an outage sets nothing aside"

    hop.down_after = None
    again = sender.send(sender.entries[sent.acknowledged :])

    assert again.is_complete
    first = list(dict.fromkeys(hop.arrived))
    assert first == list(range(COUNT))


def test_no_entry_is_tried_after_the_one_at_which_a_round_has_stopped(
    made: tuple[Sender, NextHop],
) -> None:
    sender, hop = made
    hop.down_after = 0

    sender.send(sender.entries)

    # Retries of the first one, at each of two places, and nothing of the others.
    assert 1 <= hop.attempts_while_down <= 4
    assert hop.arrived == []


@pytest.mark.parametrize("never", [{0}, {3, 4}, {COUNT - 1}, {0, 5, 11}])
def test_what_is_never_taken_is_set_aside_and_the_rest_gets_through(
    made: tuple[Sender, NextHop], never: set[int]
) -> None:
    sender, hop = made
    hop.never = never

    sent = sender.send(sender.entries)

    assert sent.is_complete
    assert sent.dead_lettered == len(never)
    # A neighbour may have come twice: it was the evidence against the first.
    first = [one for one in dict.fromkeys(hop.arrived) if one not in never]
    assert first == [one for one in range(COUNT) if one not in never]
    assert sorted(sender.dead()) == sorted(never)


@pytest.mark.parametrize("error", [JournalError("write to", "x", "disk full"), RuntimeError("odd")])
def test_a_destination_that_raises_in_a_round_costs_no_gap_and_is_counted_once(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, Hop())
    real, errors = bench.destination.send, [error]

    def send(sending: ExportRound[Any]) -> None:
        if errors:
            sending.acknowledge(2)
            raise errors.pop()
        real(sending)

    monkeypatch.setattr(bench.destination, "send", send)
    bench.record(*range(6))
    bench.drain()

    assert bench.hop.bodies == list(range(6))
    assert bench.delivery.acknowledged == 6
    assert books(tmp_path, exact=True)[0].delivered == 6
    bench.close()
