"""`redact=` of the two processors: what is not to be written is in no byte of what is written or sent."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext

from tests.conftest import ROOT
from tests.support.collector import Collector
from tests.support.waiting import until
from wakelog import ConfigurationError, HashStrategy, RedactionConfig, RegexDetector
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor, Redactor
from wakelog.otel._settings import DROP_ATTRIBUTES, REDACT_FOREIGN

SECRET = "sk-ant-api03-Zq81hTbN5rWmXcVy0PdLsKfJ"
SAID = "my knee hurts since Tuesday"
"""Content in which no detector finds anything."""
RESOURCE = Resource({"service.name": "shop"})

KILLED = """
import json, logging, os, signal, sys
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor

directory, secret, said = sys.argv[1:]
settings = {"directory": directory, "pipeline": "p", "max_line_bytes": 20_000}
resource = Resource({"service.name": "shop"})
spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
spans.add_span_processor(DurableSpanProcessor(None, **settings))
logs.add_log_record_processor(DurableLogRecordProcessor(None, span_events=True, **settings))
tracer, logger = spans.get_tracer("t"), logs.get_logger("t")
logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))

given = {
    "url.full": f"https://x/?api_key={secret}",
    "http.request.header.authorization": (secret,),
    "gen_ai.input.messages": json.dumps([{"role": "user", "content": f"{said} {secret}"}]),
    "gen_ai.prompt.0.content": f"{said} {secret}",
    "input.value": f"{said} {secret}",
    "large": f"{secret} " * 2_000,
}
link = Link(SpanContext(7, 8, False), given)
with tracer.start_as_current_span(f"GET /?token={secret}", attributes=given, links=[link]) as one:
    one.set_attributes({"later": [secret], **given})
    one.add_event(f"event of {secret}", given)
    one.record_exception(ValueError(f"refused: {secret}"))
    one.set_status(Status(StatusCode.ERROR, f"refused: {secret}"))
    logger.emit(body={"key": secret, "deep": [f"{secret}"]}, attributes=given, event_name="noted")
    logger.emit(body={"content": f"{said} {secret}"}, attributes=given, event_name="gen_ai.user.message")
    try:
        raise ValueError(f"refused: {secret}")
    except ValueError:
        logging.exception("the key %s is refused", secret)
open_one = tracer.start_as_current_span(f"open, {secret}", attributes=given, links=[link])
open_one.__enter__()
logger.emit(body=secret, attributes=given, event_name=f"in {secret}")
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_program(directory: Path, **variables: str) -> None:
    command = [sys.executable, "-c", KILLED, str(directory), SECRET, SAID]
    done = subprocess.run(command, check=False, timeout=60, env=variables, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert SECRET.encode() not in done.stderr


def everything_in(folder: Path) -> bytes:
    """Return the names and the bytes of all files in a folder, those of its blobs too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


def deliver(directory: Path, collector: Collector) -> bytes:
    """Deliver what the program has left, and return every byte that the Collector has got."""
    settings: dict[str, Any] = {"directory": directory, "pipeline": "p", "resource": RESOURCE}
    settings["schedule_delay_millis"] = 20
    spans = DurableSpanProcessor(
        OTLPSpanExporter(f"{collector.http_endpoint}/v1/traces"), **settings
    )
    logs = DurableLogRecordProcessor(
        OTLPLogExporter(f"{collector.http_endpoint}/v1/logs"), **settings
    )
    collector.wait_for_logs(4)
    # The one that has ended, and the one that the restart has given an end.
    until(lambda: len({span.span_id for span in collector.spans()}) == 2, "both spans")
    spans.shutdown()
    logs.shutdown()
    return b"".join(path.read_bytes() for path in collector_files(collector))


def collector_files(collector: Collector) -> list[Path]:
    return [collector._spans.path, collector._logs.path]


@pytest.mark.parametrize(
    "variables, secret, content",
    [
        ({}, True, True),
        ({REDACT_FOREIGN: "true"}, False, True),
        ({REDACT_FOREIGN: "drop_content"}, False, False),
    ],
    ids=["off", "redacted", "without content"],
)
def test_no_byte_of_the_journal_or_of_what_a_collector_gets_has_the_secret(
    variables: dict[str, str],
    secret: bool,
    content: bool,
    tmp_path: Path,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    directory = tmp_path / "journal"

    kill_a_program(directory, **variables)
    left = everything_in(directory)
    received = deliver(directory, collector)

    for found in (left, received, everything_in(directory)):
        assert (SECRET.encode() in found) is secret
        assert (SAID.encode() in found) is content
    # The rest is as it was, and the tree is whole.
    spans = {span.span_id: span for span in collector.spans()}
    assert len(spans) == 2
    outcomes = [span.attributes.get("wakelog.span.outcome") for span in spans.values()]
    assert sorted(map(str, outcomes)) == ["None", "unknown"]
    assert all(len(span.links) == 1 for span in spans.values())
    assert len(collector.log_records()) == 4


def spans_of(
    directory: Path, redact: Any, record: Callable[[TracerProvider], None]
) -> tuple[DurableSpanProcessor, InMemorySpanExporter]:
    hop = InMemorySpanExporter()
    processor = DurableSpanProcessor(hop, directory=directory, resource=RESOURCE, redact=redact)
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    record(provider)
    processor.shutdown()
    return processor, hop


def test_the_first_rule_that_fits_says_what_becomes_of_an_attribute(tmp_path: Path) -> None:
    redactor = Redactor(
        {
            "gen_ai.prompt.0.*": "keep",
            "gen_ai.prompt.*": "hide",
            "gen_ai.input.messages": "drop",
            "kept": "keep",
        },
        content="drop",
        config=RedactionConfig(strategy=HashStrategy(b"salt", 8)),
    )

    def record(provider: TracerProvider) -> None:
        names = ["gen_ai.prompt.0.role", "gen_ai.prompt.1.role", "gen_ai.input.messages", "kept"]
        attributes = dict.fromkeys([*names, "output.value", "other"], f"key {SECRET}")
        span = provider.get_tracer("t").start_span("s", attributes=attributes)
        span.set_attribute("gen_ai.usage.input_tokens", 17)
        span.end()

    _, hop = spans_of(tmp_path, redactor, record)

    [span] = hop.get_finished_spans()
    found = dict(span.attributes or {})
    assert found.pop("other") != f"key {SECRET}"
    hashed = found.pop("gen_ai.prompt.1.role")
    assert isinstance(hashed, str)
    assert hashed.startswith("[HASH:sensitive_field:")
    assert found == {
        "gen_ai.prompt.0.role": f"key {SECRET}",
        "kept": f"key {SECRET}",
        "gen_ai.usage.input_tokens": 17,
    }


def test_brackets_and_dots_in_a_rule_stand_for_themselves(tmp_path: Path) -> None:
    def record(provider: TracerProvider) -> None:
        attributes = dict.fromkeys(["a[0].b", "a0.b", "a[0]xb"], 1)
        provider.get_tracer("t").start_span("s", attributes=attributes).end()

    _, hop = spans_of(tmp_path, Redactor({"a[0].*": "drop"}), record)

    assert dict(hop.get_finished_spans()[0].attributes or {}) == {"a0.b": 1, "a[0]xb": 1}


@pytest.mark.parametrize("by", ["name", "attribute"])
def test_the_body_of_a_models_event_is_content(by: str, tmp_path: Path) -> None:
    logs = DurableLogRecordProcessor(None, directory=tmp_path, redact=Redactor(content="drop"))
    provider = LoggerProvider()
    provider.add_log_record_processor(logs)
    event: dict[str, Any] = {"event_name": "gen_ai.choice"}
    if by == "attribute":
        event = {"attributes": {"event.name": "gen_ai.choice"}}
    provider.get_logger("t").emit(body={"content": SAID}, **event)
    provider.get_logger("t").emit(body=SAID)
    provider.shutdown()

    assert [entry.record.body for entry in read(tmp_path)] == [None, SAID]


def test_what_is_dropped_by_a_variable_leaves_the_rest_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DROP_ATTRIBUTES, "gen_ai.input.messages, llm.*.content")

    def record(provider: TracerProvider) -> None:
        names = ["gen_ai.input.messages", "llm.0.content", "llm.0.role"]
        attributes = dict.fromkeys(names, f"key {SECRET}")
        provider.get_tracer("t").start_span("s", attributes=attributes).end()

    _, hop = spans_of(tmp_path, None, record)

    assert dict(hop.get_finished_spans()[0].attributes or {}) == {"llm.0.role": f"key {SECRET}"}


def test_a_span_is_whole_but_for_what_is_redacted(tmp_path: Path) -> None:
    """It has what the SDK has counted, and its links, events and times, as without a redactor."""
    from opentelemetry.sdk.trace import SpanLimits

    def record(provider: TracerProvider) -> None:
        provider._span_limits = SpanLimits(max_span_attributes=2, max_events=1)
        link = Link(SpanContext(7, 8, is_remote=True), {"a": 1})
        span = provider.get_tracer("t").start_span(
            "s", attributes={"a": 1.5, "b": True, "c": (1, 2)}, links=[link], start_time=5
        )
        span.add_event("one", {"x": 1}, timestamp=6)
        span.add_event("two", {"x": (False, True)}, timestamp=7)
        span.end(9)

    seen = []
    for name, redact in (("plain", False), ("redacted", True)):
        _, hop = spans_of(tmp_path / name, redact, record)
        [span] = hop.get_finished_spans()
        text = span.to_json()
        for given in (span.context, span.parent):
            if given is not None:
                text = text.replace(f"{given.trace_id:032x}", "t").replace(
                    f"{given.span_id:016x}", "s"
                )
        seen.append((text, span.dropped_attributes, span.dropped_events, span.dropped_links))

    assert seen[0] == seen[1]
    assert seen[0][1:] == (1, 1, 0)


class Failing:
    """A detector of the user's that fails."""

    def redact(self, value: str, strategy: object) -> str:
        raise ValueError(value)


def test_what_cannot_be_redacted_is_not_written_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = RedactionConfig(detectors=(Failing(),))
    with caplog.at_level(logging.ERROR):
        processor, hop = spans_of(
            tmp_path / "s", config, lambda p: p.get_tracer("t").start_span(SECRET).end()
        )
        logs = DurableLogRecordProcessor(None, directory=tmp_path / "l", redact=config)
        provider = LoggerProvider()
        provider.add_log_record_processor(logs)
        provider.get_logger("t").emit(body=SECRET)
        provider.shutdown()

    assert processor.refused == {"RedactionError": 2}
    assert logs.refused == {"RedactionError": 1}
    assert hop.get_finished_spans() == ()
    assert SECRET.encode() not in everything_in(tmp_path)
    assert SECRET not in caplog.text


def test_wakelogs_own_loggers_redact_by_their_own_settings(tmp_path: Path) -> None:
    from wakelog import AgentLogger
    from wakelog.otel import OTelSink

    logs = DurableLogRecordProcessor(None, directory=tmp_path, redact=True)
    provider = LoggerProvider()
    provider.add_log_record_processor(logs)
    log = AgentLogger(sink=OTelSink(provider), redact_payloads=False)
    log.user_message(SAID, metadata={"mail": "ann@example.com"})
    provider.shutdown()

    [entry] = read(tmp_path)
    assert entry.record.attributes["wakelog.metadata"] == {"mail": "ann@example.com"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Redactor({"x": "burn"}), "'x': 'burn' is no rule: use redact, hide, drop or keep"),  # type: ignore[dict-item]
        (lambda: Redactor(content="some"), "'content': 'some' is no rule"),  # type: ignore[arg-type]
        (lambda: Redactor(["x"]), "rules is of type list"),  # type: ignore[arg-type]
        (lambda: DurableSpanProcessor(None, redact="yes"), "redact is of type str"),  # type: ignore[arg-type]
    ],
)
def test_rules_that_cannot_be_used_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_detector_of_ones_own_is_used(tmp_path: Path) -> None:
    import re

    config = RedactionConfig(detectors=(RegexDetector("knee", re.compile("knee")),))

    def record(provider: TracerProvider) -> None:
        provider.get_tracer("t").start_span("s", attributes={"a": SAID}).end()

    _, hop = spans_of(tmp_path, config, record)

    assert (hop.get_finished_spans()[0].attributes or {})["a"] == SAID.replace("knee", "[REDACTED]")


def test_the_example_keeps_prompts_and_keys_off_the_disk(tmp_path: Path) -> None:
    example = ROOT / "examples" / "redacted_spans.py"
    command = [sys.executable, str(example), "--directory", str(tmp_path / "j")]
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, env=nowhere
    )

    assert "gen_ai.prompt.0.role: user" in done.stdout
    written = everything_in(tmp_path / "j")
    assert b"parcel" not in written
    assert b"abcdefghijklmnop0123" not in written
    assert b"gen_ai.usage.input_tokens" in written
