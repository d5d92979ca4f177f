"""The drop-in: it changes nothing but durability."""

from __future__ import annotations

import inspect
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    LogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from tests.support.attack import times
from wakelog.errors import ConfigurationError, JournalError, SinkError
from wakelog.events import AgentEvent
from wakelog.journal import Journal, books, read
from wakelog.logger import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.otel._records import EventLogRecord

ADDED = {"log.record.uid", "wakelog.writer.id", "wakelog.seq"}


def provider_with(*processors: Any, **options: Any) -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False, **options)
    for processor in processors:
        provider.add_log_record_processor(processor)
    return provider


def as_otlp(exporter: InMemoryLogRecordExporter) -> list[bytes]:
    """Encode what was exported as OTLP, without what the drop-in adds."""
    messages = []
    for log in exporter.get_finished_logs():
        request = encode_logs([log])
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                for record in scope_logs.log_records:
                    kept = [a for a in record.attributes if a.key not in ADDED]
                    del record.attributes[:]
                    record.attributes.extend(kept)
        # Bytes, because in a message NaN would differ from itself.
        messages.append(request.SerializeToString(deterministic=True))
    return messages


class Pair:
    """The SDK's processor and ours, side by side in one provider."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.theirs, self.ours = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
        self.durable = DurableLogRecordProcessor(self.ours, directory=directory)
        self.provider = provider_with(BatchLogRecordProcessor(self.theirs), self.durable, **options)

    def check(self, count: int) -> None:
        assert self.provider.force_flush(60_000)
        theirs, ours = as_otlp(self.theirs), as_otlp(self.ours)
        assert len(theirs) == count
        assert ours == theirs

    def close(self) -> None:
        self.provider.shutdown()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(
        tmp_path,
        resource=Resource({"service.name": "s", "list": ["a", "b"], "n": 1}, "https://schema/r"),
    )
    yield made
    made.close()


def test_it_takes_the_arguments_of_the_batch_processor_in_their_places() -> None:
    theirs = inspect.signature(BatchLogRecordProcessor).parameters
    ours = inspect.signature(DurableLogRecordProcessor).parameters

    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


OTEL_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.just(math.nan)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc$wakelog", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.attack
@settings(
    max_examples=times(1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.none() | OTEL_VALUES,
    attributes=st.dictionaries(st.text("abc.", min_size=1), OTEL_VALUES, max_size=4),
    timestamp=st.none() | st.integers(0, 2**64 - 1),
    observed=st.none() | st.integers(1, 2**64 - 1),
    severity=st.none() | st.sampled_from(SeverityNumber),
    text=st.none() | st.text("ab", max_size=3),
    event_name=st.none() | st.text("ab", max_size=3),
)
def test_records_leave_exactly_as_the_sdk_would_have_sent_them(
    pair: Pair,
    body: Any,
    attributes: dict[str, Any],
    timestamp: int | None,
    observed: int | None,
    severity: SeverityNumber | None,
    text: str | None,
    event_name: str | None,
) -> None:
    pair.theirs.clear()
    pair.ours.clear()
    pair.provider.get_logger("scope", "1.2", "https://schema/s", {"k": 1}).emit(
        body=body,
        attributes=attributes,
        timestamp=timestamp,
        observed_timestamp=observed,
        severity_number=severity,
        severity_text=text,
        event_name=event_name,
    )

    pair.check(1)


def test_trace_context_exceptions_and_dropped_attributes_come_along(tmp_path: Path) -> None:
    made = Pair(tmp_path, log_record_limits=LogRecordLimits(max_log_record_attributes=2))
    logger = made.provider.get_logger("x")
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("span"):
        logger.emit(LogRecord(body="inside", attributes={"a": 1}))
        with pytest.warns(UserWarning, match="dropped"):
            logger.emit(LogRecord(body="many", attributes={"a": 1, "b": 2, "c": 3}))
    logger.emit(LogRecord(body="outside"))

    made.check(3)
    made.close()


def test_records_of_several_scopes_and_resources_keep_theirs(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    first = provider_with(durable, resource=Resource({"service.name": "one"}))
    second = provider_with(durable, resource=Resource({"service.name": "two"}))
    for number in range(6):
        provider = first if number % 3 else second
        provider.get_logger(f"scope-{number % 2}").emit(LogRecord(body=number))

    assert durable.force_flush(60_000)
    seen = [
        (log.log_record.body, log.resource.attributes["service.name"], scope.name)
        for log in exporter.get_finished_logs()
        if (scope := log.instrumentation_scope)
    ]
    # The services have a folder each, and each folder's records come in order.
    assert sorted(seen, key=str) == [
        (n, "one" if n % 3 else "two", f"scope-{n % 2}") for n in range(6)
    ]
    for service in ("one", "two"):
        bodies = [body for body, name, _ in seen if name == service]
        assert bodies == sorted(bodies, key=str)
    durable.shutdown()


def test_each_record_is_named_and_numbered_and_a_given_name_is_kept(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    logger.emit(LogRecord(body=1))
    logger.emit(LogRecord(body=2, attributes={"log.record.uid": "mine"}))
    logger.emit(LogRecord(body=3, attributes={"log.record.uid": 7}))

    assert durable.force_flush(60_000)
    attributes = [dict(log.log_record.attributes or {}) for log in exporter.get_finished_logs()]
    [writer] = {a["wakelog.writer.id"] for a in attributes}
    assert writer == books(tmp_path)[0].writer
    assert [a["wakelog.seq"] for a in attributes] == [1, 2, 3]
    assert attributes[1]["log.record.uid"] == "mine"
    ids = [entry.record.id for entry in read(tmp_path)]
    assert [a["log.record.uid"] for a in attributes] == ids
    durable.shutdown()


@pytest.mark.parametrize(
    "body",
    ["a\ud83d", 2**70, -(2**64), object(), {1: {2}}, [float("nan")] * 3, {"a": [None]}, {"x": "y"}],
)
def test_what_no_encoder_takes_costs_neither_the_batch_nor_the_record(
    tmp_path: Path, body: Any
) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    for value in ("before", body, "after"):
        logger.emit(LogRecord(body=value, attributes={"v": "x"}, timestamp=-5))

    assert durable.force_flush(60_000)
    logs = exporter.get_finished_logs()
    assert len(logs) == 3
    assert encode_logs(logs).SerializeToString()
    durable.shutdown()


class Unwritable(Journal):
    def append(self, *_: Any, **__: Any) -> Any:
        raise JournalError("write to", self.root, "No space left on device")

    put = append


def test_in_others_pipelines_a_refused_record_is_counted_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    durable = DurableLogRecordProcessor(None, directory=tmp_path)
    durable._journal = Unwritable(tmp_path)
    logger = provider_with(durable).get_logger("x")
    with caplog.at_level(logging.ERROR, "wakelog"):
        for _ in range(5):
            logger.emit(LogRecord(body="x"))

    assert durable.refused == {"JournalError": 5}
    [report] = caplog.messages
    assert "No space left on device" in report


def test_wakelogs_own_events_raise_when_they_are_not_accepted(tmp_path: Path) -> None:
    durable = DurableLogRecordProcessor(None, directory=tmp_path)
    durable._journal = Unwritable(tmp_path)
    sink = OTelSink(provider_with(durable))

    with pytest.raises(SinkError, match="No space left"):
        sink.write(AgentEvent("user_message"))
    assert durable.refused == {}


def test_our_record_has_every_field_that_the_api_s_record_has() -> None:
    ours = EventLogRecord(
        timestamp=1,
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        attributes={},
        event_name="e",
        span_context=None,
        durability=None,
    )

    assert (
        vars(ours).keys()
        - {
            "content",
            "answered",
            "derives_body",
            "deferred",
            "durability",
            "receipt",
            "settling",
        }
        == vars(LogRecord()).keys()
    )
    assert ours.body is None
    assert ours.trace_flags == LogRecord().trace_flags


def test_an_event_is_the_same_record_whether_its_attributes_are_checked_twice_or_once(
    tmp_path: Path,
) -> None:
    """Holds the SDK's logger to taking a ReadWriteLogRecord, which its API does not promise."""
    tracer = TracerProvider().get_tracer("t")
    payload = {"args": {"a": [1, {"b": (2.5, None)}], "raw": b"x"}}
    exported = []
    for without_limits in (False, True):
        exporter = InMemoryLogRecordExporter()
        durable = DurableLogRecordProcessor(exporter, directory=tmp_path / str(without_limits))
        provider = provider_with(durable, resource=Resource({"service.name": "s"}))
        sink = OTelSink(provider, without_limits=without_limits)
        with tracer.start_as_current_span("span", context=Context()) as span:
            event = AgentEvent("tool_call", tool_name="t", payload=payload, event_id="the-id")
            event.time_unix_nano = 5
            event.span_context = (1, 2, 1)
            sink.write(event)
        assert span.is_recording() is False
        assert event.receipt is not None
        assert sink.flush(60)
        exported.append(as_otlp(exporter))
        durable.shutdown()

    assert len(exported[0]) == 1
    assert exported[0] == exported[1]


@pytest.mark.parametrize("policy", ["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"])
def test_content_is_in_the_journal_and_elsewhere_only_where_the_policy_lets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", policy)
    beside, exporter = InMemoryLogRecordExporter(), InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path, span_events=True)
    provider = provider_with(SimpleLogRecordProcessor(beside), durable)
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("span") as span:
        AgentLogger(sink=OTelSink(provider)).user_message("hello")
    assert durable.force_flush(60_000)

    [entry] = read(tmp_path)
    [event] = span.events  # type: ignore[attr-defined]
    key = "gen_ai.input.messages"
    assert key in entry.record.attributes
    assert (key in event.attributes) == ("SPAN" in policy)
    for exported in (beside, exporter):
        [log] = exported.get_finished_logs()
        assert (key in (log.log_record.attributes or {})) == ("EVENT" in policy), exported
    durable.shutdown()


def test_without_an_exporter_everything_stays_and_nothing_claims_otherwise(tmp_path: Path) -> None:
    durable = DurableLogRecordProcessor(None, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    assert durable.force_flush()
    logger.emit(LogRecord(body="x"))

    assert not durable.force_flush()
    assert not durable.close(1)
    assert books(tmp_path)[0].pending == 1


def test_what_is_emitted_after_shutdown_is_still_written(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    logger.emit(LogRecord(body="before"))
    assert durable.force_flush(60_000)
    durable.shutdown()
    logger.emit(LogRecord(body="after"))

    assert [entry.record.body for entry in read(tmp_path)] == ["before", "after"]
    assert [log.log_record.body for log in exporter.get_finished_logs()] == ["before"]


def test_the_journal_goes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "a/b c")
    by_default = DurableLogRecordProcessor(None).journal.root
    monkeypatch.setenv("WAKELOG_DIR", str(tmp_path / "env"))
    by_variable = DurableLogRecordProcessor(None).journal.root
    by_argument = DurableLogRecordProcessor(None, directory=tmp_path / "arg").journal.root

    assert by_default == tmp_path / "state" / "wakelog" / "a_b_c"
    assert (by_variable, by_argument) == (tmp_path / "env", tmp_path / "arg")


class Recorder(LogRecordExporter):
    """An exporter that notes the size of each batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def export(self, batch: Any) -> Any:
        self.sizes.append(len(batch))
        from opentelemetry.sdk._logs.export import LogRecordExportResult

        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def test_the_batch_variables_mean_what_they_mean_to_the_sdk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "3")
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "7")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "soon")
    exporter = Recorder()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    logger = provider_with(durable).get_logger("x")
    for number in range(50):
        logger.emit(LogRecord(body=number))

    assert durable.force_flush(60_000)
    assert sum(exporter.sizes) == 50  # the batch processor's queue holds 7 and was never overrun
    assert max(exporter.sizes) == 3
    assert "'soon' is no whole number" in caplog.text
    with pytest.raises(ValueError, match="less than or equal"):
        DurableLogRecordProcessor(exporter, None, 100, None, 10, directory=tmp_path)
    durable.shutdown()


def test_batches_are_full_while_nobody_waits_as_those_of_the_sdk_are(tmp_path: Path) -> None:
    exporter = Recorder()
    processor = DurableLogRecordProcessor(
        exporter, schedule_delay_millis=60_000, max_export_batch_size=512, directory=tmp_path
    )
    provider = provider_with(processor)
    logger = provider.get_logger("m")
    for number in range(5 * 512 + 76):
        logger.emit(LogRecord(body=number))

    assert processor.force_flush()
    assert exporter.sizes == [512, 512, 512, 512, 512, 76]
    provider.shutdown()


def test_a_forked_child_delivers_its_own_records_and_not_its_parents(tmp_path: Path) -> None:
    exported = tmp_path / "exported"

    class ToFile(Recorder):
        def export(self, batch: Any) -> Any:
            with exported.open("a") as file:
                for log in batch:
                    file.write(f"{log.log_record.body}\n")
            return super().export(batch)

    durable = DurableLogRecordProcessor(ToFile(), directory=tmp_path / "j")
    logger = provider_with(durable).get_logger("x")
    logger.emit(LogRecord(body="parent-1"))
    pid = os.fork()
    if pid == 0:
        logger.emit(LogRecord(body="child"))
        os._exit(0 if durable.force_flush(60_000) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    logger.emit(LogRecord(body="parent-2"))
    assert durable.force_flush(60_000)
    durable.shutdown()

    assert sorted(exported.read_text().split()) == ["child", "parent-1", "parent-2"]
    assert all(b.pending == 0 for b in books(tmp_path / "j"))


def test_the_event_to_span_event_bridge_is_off_unless_asked_for(tmp_path: Path) -> None:
    tracer = TracerProvider().get_tracer("t")
    names = {}
    for wanted in (False, True):
        durable = DurableLogRecordProcessor(None, directory=tmp_path, span_events=wanted)
        logger = provider_with(durable).get_logger("x")
        with tracer.start_as_current_span("span") as span:
            logger.emit(LogRecord(event_name="e", timestamp=time.time_ns()))
        names[wanted] = [event.name for event in span.events]  # type: ignore[attr-defined]

    assert names == {False: [], True: ["e"]}


def test_a_record_that_was_read_has_every_field_that_the_api_s_record_has(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    provider_with(durable).get_logger("x").emit(
        LogRecord(body="x", attributes={"l": [1, {"a": 2}]})
    )
    durable.force_flush()
    durable.shutdown()
    [log] = exporter.get_finished_logs()

    assert vars(log.log_record).keys() == vars(LogRecord()).keys()
    assert log.log_record.attributes is not None
    assert log.log_record.attributes["l"] == (1, {"a": 2})  # as the SDK has them


@pytest.mark.parametrize("named", ["argument", "variable", None])
def test_exported_copies_are_cut_only_when_a_size_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    if named == "variable":
        monkeypatch.setenv("WAKELOG_MAX_RECORD_BYTES", "2000")
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(
        exporter, directory=tmp_path, max_record_bytes=2000 if named == "argument" else None
    )
    logger = provider_with(durable).get_logger("x")
    logger.emit(LogRecord(body="x" * 5000, attributes={"long": "y" * 5000, "short": "z"}))
    logger.emit(LogRecord(body="small", attributes={"n": 1}))
    assert durable.force_flush()
    durable.shutdown()
    big, small = (log.log_record for log in exporter.get_finished_logs())

    assert big.attributes is not None
    assert small.attributes is not None
    assert (small.body, small.attributes["n"]) == ("small", 1)
    assert "wakelog.truncated_bytes" not in small.attributes
    if named is None:
        assert big.body == "x" * 5000
    else:
        assert len(str(big.body)) + len(str(big.attributes["long"])) < 2000
        assert int(str(big.attributes["wakelog.truncated_bytes"])) > 8000
        assert (big.attributes["short"], big.attributes["wakelog.seq"]) == ("z", 1)
    assert next(read(tmp_path)).record.body == "x" * 5000


@pytest.mark.parametrize("value", ["0", "-1", "many", "inf", "nan"])
def test_a_rate_or_size_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for variable in ("WAKELOG_REPLAY_RATE", "WAKELOG_MAX_RECORD_BYTES"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            with pytest.raises(ConfigurationError, match=f"{variable}='{value}'"):
                DurableLogRecordProcessor(InMemoryLogRecordExporter(), directory=tmp_path)


def test_what_is_nested_deeper_than_the_encoder_takes_arrives_as_text(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"end": [1, b"x"]}
    for _ in range(100):
        deep = {"a": deep}
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(DurableLogRecordProcessor(exporter, directory=tmp_path))
    provider.get_logger("deep").emit(LogRecord(body=deep, attributes={"deep": deep, "flat": [1]}))
    assert provider.force_flush(60_000)
    provider.shutdown()

    encoded = encode_logs(exporter.get_finished_logs()).resource_logs[0].scope_logs[0]

    (record,) = encoded.log_records
    assert {attribute.key for attribute in record.attributes} > {"deep", "flat"}
    assert b'"end"' in record.SerializeToString()
