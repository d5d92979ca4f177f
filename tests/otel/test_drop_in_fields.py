"""What arrives through the SDK's processor arrives through the drop-in, whatever types are in it."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs import export as sdk
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import TraceFlags

from wakelog import AgentLogger, OTelSink
from wakelog.events import EVENT_TYPES
from wakelog.events import semconv as s
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor

ADDED = {s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ}


def provider_with(*processors: Any, **options: Any) -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False, **options)
    for processor in processors:
        provider.add_log_record_processor(processor)
    return provider


class Level(enum.IntEnum):
    HIGH = 17


class Name(enum.StrEnum):
    SOLD = "sold"


class Custom:
    def __str__(self) -> str:
        return "a custom object"


class Silent:
    def __str__(self) -> str:
        raise RuntimeError


class Number(int):
    pass


ODD = [
    None, True, False, 0, 1, 9, 17, 24, 25, 99, -1, 2**63, 2**64, 2**128, 2**200, 1.0, 9.0, 9.5, math.nan, math.inf,
    1.7e18, "", "INFO", "9", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "2026-01-02T03:04:05Z", "no",
    b"x", SeverityNumber.WARN, Level.HIGH, Name.SOLD, Number(9), decimal.Decimal(9), dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    dt.datetime(2026, 1, 2), [1], (1, "a"), {"a": 1}, {1: 2}, {"x"}, Custom(), Silent(), object(), TraceFlags(1),
    range(3), "\ud83d", "x" * 300,
]  # fmt: skip
FIELDS = (
    "timestamp",
    "observed_timestamp",
    "severity_number",
    "severity_text",
    "body",
    "event_name",
    "trace_id",
    "span_id",
    "trace_flags",
    "attributes",
)


class Pair:
    def __init__(self, directory: Path) -> None:
        self.theirs, self.ours = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
        self.durable = DurableLogRecordProcessor(self.ours, directory=directory)
        self.provider = provider_with(BatchLogRecordProcessor(self.theirs), self.durable)

    def emit(self, **fields: Any) -> tuple[ReadableLogRecord | None, ReadableLogRecord | None]:
        """Emit a record with these fields, and return what has arrived through each processor."""
        self.theirs.clear()
        self.ours.clear()
        record = LogRecord(body="x")
        for name, value in fields.items():
            setattr(record, name, value)
        with suppress(Exception):  # what the SDK's logger itself refuses, no processor sees
            self.provider.get_logger("scope").emit(record)
        self.provider.force_flush(60_000)
        theirs, ours = self.theirs.get_finished_logs(), self.ours.get_finished_logs()
        return (theirs[0] if theirs else None), (ours[0] if ours else None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("journal"))
    yield made
    made.provider.shutdown()


def same(theirs: Any, ours: Any) -> bool:
    """Tell whether a value has come through, in the form that a line gives it."""
    theirs, ours = (v.value if isinstance(v, enum.Enum) else v for v in (theirs, ours))
    if isinstance(ours, str):  # the text of what a line has no form for
        return True
    if isinstance(theirs, str | dt.datetime) and type(ours) is int:  # a time or an id in words
        return ours > 2**60
    if isinstance(theirs, float) and isinstance(ours, int | float):
        return theirs == ours or theirs - ours < 1 or math.isnan(theirs + ours)
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        return len(theirs) == len(ours) and all(map(same, theirs, ours))
    if isinstance(theirs, dict | set | range):
        return len(theirs) == len(ours)
    return bool(theirs == ours)


def check(theirs: ReadableLogRecord, ours: ReadableLogRecord) -> None:
    """Check that a record has everything that the other has, and can be encoded."""
    one, other = theirs.log_record, ours.log_record
    attributes = dict(other.attributes or {})
    for name in FIELDS[:-1]:
        value, kept = getattr(one, name), attributes.get(s.GIVEN + name)
        if value not in (None, 0, ""):
            assert same(value, getattr(other, name) if kept is None else kept), name
    for key, value in dict(one.attributes or {}).items():
        assert key in attributes or str(key) in attributes
        assert same(value, attributes[str(key)])
    message = encode_logs([ours]).resource_logs[0].scope_logs[0].log_records[0]
    severity = one.severity_number
    if isinstance(severity, int) and not isinstance(severity, bool) and 0 < severity <= 24:
        assert message.severity_number == severity
    json.loads(ours.to_json())


@pytest.mark.parametrize(
    "value",
    ODD,
    ids=lambda v: f"{type(v).__name__} {v!r:.20}" if not isinstance(v, Silent) else "silent",
)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_any_type_costs_no_record_and_no_value(
    pair: Pair, field: str, value: Any
) -> None:
    theirs, ours = pair.emit(**{field: value})

    assert pair.durable.refused == {}
    if theirs is not None:
        assert ours is not None
        check(theirs, ours)


@given(st.dictionaries(st.sampled_from(FIELDS), st.integers(0, len(ODD) - 1)))
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_records_of_any_types_arrive_as_they_do_through_the_batch_processor(
    pair: Pair, numbers: dict[str, int]
) -> None:
    theirs, ours = pair.emit(**{name: ODD[number] for name, number in numbers.items()})

    assert pair.durable.refused == {}
    if theirs is not None:
        assert ours is not None
        check(theirs, ours)


@pytest.mark.parametrize("value", ODD[2:], ids=lambda v: type(v).__name__)
def test_an_attribute_of_any_type_arrives(pair: Pair, value: Any) -> None:
    theirs, ours = pair.emit(attributes={"k": value, "l": [value], "m": {"n": value}})

    assert pair.durable.refused == {}
    if theirs is not None:
        assert ours is not None
        check(theirs, ours)


@pytest.mark.parametrize("name", ["scope", "", None, 5, Name.SOLD])
@pytest.mark.parametrize("version", [None, "1", 2])
def test_a_scope_of_any_types_costs_no_record(tmp_path: Path, name: Any, version: Any) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    provider = provider_with(durable, resource=Resource({"n": 1, "list": [1, 2]}))

    provider.get_logger(name, version, attributes={"k": [1]}).emit(LogRecord(body="x"))
    provider.shutdown()

    [log] = exporter.get_finished_logs()
    assert durable.refused == {}
    assert encode_logs([log]).resource_logs


class Exporter(LogRecordExporter):
    """Takes everything, and answers as it is told."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self.answers = answers
        self.arrived: list[object] = []
        self.calls = self.flushes = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> Any:
        self.calls += 1
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        if answer is not LogRecordExportResult.FAILURE:
            self.arrived += [record.log_record.body for record in batch]
        return answer

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> Any:
        self.flushes += 1
        return True


class Holding(Exporter):
    """Holds back what it has taken until it is flushed or shut down."""

    def __init__(self, answers: Iterator[Any]) -> None:
        super().__init__(answers)
        self.held: list[object] = []

    def export(self, batch: Sequence[ReadableLogRecord]) -> Any:
        self.calls += 1
        self.held += [record.log_record.body for record in batch]
        return next(self.answers)

    def force_flush(self, timeout_millis: int = 30000) -> Any:
        self.flushes += 1
        self.arrived += self.held
        self.held.clear()

    def shutdown(self) -> None:
        self.force_flush()


class Raising(Exporter):
    def force_flush(self, timeout_millis: int = 30000) -> Any:
        raise RuntimeError("no")


class Refusing(Exporter):
    def force_flush(self, timeout_millis: int = 30000) -> Any:
        return False


class Bare:
    """Has what an exporter has, and is derived from nothing."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self.answers, self.arrived, self.calls = answers, list[object](), 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> Any:
        self.calls += 1
        self.arrived += [record.log_record.body for record in batch]
        return next(self.answers)

    def shutdown(self) -> None: ...


def forever(answer: Any) -> Callable[[], Iterator[Any]]:
    return lambda: (answer for _ in count())


def after(first: Any) -> Callable[[], Iterator[Any]]:
    return lambda: (LogRecordExportResult.SUCCESS if n else first for n in count())


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    OLD_SUCCESS, OLD_FAILURE = sdk.LogExportResult.SUCCESS, sdk.LogExportResult.FAILURE
SUCCESS = LogRecordExportResult.SUCCESS
KINDS: dict[str, tuple[type[Any], Callable[[], Iterator[Any]], int]] = {
    "success": (Exporter, forever(SUCCESS), 1),
    "deprecated success": (Exporter, forever(OLD_SUCCESS), 1),
    "nothing": (Exporter, forever(None), 1),
    "failure at first": (Exporter, after(LogRecordExportResult.FAILURE), 2),
    "exception at first": (Exporter, after(OSError("no route")), 2),
    "holding back": (Holding, forever(SUCCESS), 1),
    "holding back, deprecated": (Holding, forever(OLD_SUCCESS), 1),
    "of no class": (Bare, forever(SUCCESS), 1),
    "of no class, answering nothing": (Bare, forever(None), 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_exporter_of_any_documented_kind_gets_each_record_once(
    tmp_path: Path, kind: str
) -> None:
    of, answers, calls = KINDS[kind]
    exporter = of(answers())
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    for number in range(5):
        logger.emit(LogRecord(body=number))

    flushed = durable.force_flush(60_000)
    arrived = list(exporter.arrived)
    durable.shutdown()

    assert flushed
    assert arrived == exporter.arrived == list(range(5))
    assert exporter.calls == calls
    assert getattr(exporter, "flushes", 1) >= 1


def test_a_deprecated_failure_is_one_and_the_records_stay(tmp_path: Path) -> None:
    exporter = Exporter(OLD_FAILURE if n == 0 else SUCCESS for n in count())
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    provider_with(durable).get_logger("x").emit(LogRecord(body="x"))

    assert durable.force_flush(60_000)
    assert exporter.calls == 2
    durable.shutdown()


@pytest.mark.parametrize("of", [Raising, Refusing])
def test_a_flush_that_fails_is_told_and_raises_nothing(tmp_path: Path, of: type[Exporter]) -> None:
    exporter = of(forever(SUCCESS)())
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    provider_with(durable).get_logger("x").emit(LogRecord(body="x"))

    assert not durable.force_flush(60_000)
    assert exporter.arrived == ["x"]
    durable.shutdown()


# --- the body of agents' events ---------------------------------------------------------------------


SECRET = "what nobody else may read"


@pytest.mark.parametrize("policy", ["", "EVENT_ONLY"])
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_agent_event_leaves_with_a_body_of_type_and_name_and_no_content(
    tmp_path: Path, event_type: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", policy)
    ours, theirs = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(ours, directory=tmp_path)
    provider = provider_with(durable, BatchLogRecordProcessor(theirs))
    log = AgentLogger("planner", sink=OTelSink(provider, required=True), redact_payloads=False)
    payload = dict.fromkeys([*EVENT_TYPES[event_type].payload, "other"], SECRET)
    payload.pop("agent_id", None)

    log.emit(event_type, payload)
    log.emit(event_type, payload, model="gpt-4o")
    log.emit(event_type, payload, model="gpt-4o", tool_name="flights\n" + "x" * 200)
    assert provider.force_flush(60_000)
    provider.shutdown()

    for exporter in (ours, theirs):
        bodies = [record.log_record.body for record in exporter.get_finished_logs()]
        assert bodies[:2] == [f"{event_type} planner", f"{event_type} gpt-4o"]
        assert str(bodies[2]).startswith(f"{event_type} flights xxx")
        assert len(str(bodies[2])) == 120
    assert [entry.record.body for entry in read(tmp_path)] == [None] * 3


def test_a_body_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    provider = provider_with(durable)
    provider.get_logger("x").emit(LogRecord(event_name="wakelog.tool_call"))
    provider.get_logger("x").emit(LogRecord(body="said", event_name="sold"))

    assert durable.force_flush(60_000)
    assert [record.log_record.body for record in exporter.get_finished_logs()] == [None, "said"]
    provider.shutdown()
