"""logging, loguru and the GenAI instrumentations: what they hand over is recorded."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loguru
import pytest
import structlog
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.types import InputMessage, OutputMessage, Text

from tests.support.journaled import Journaled
from wakelog import AgentLogger, DurableLogRecordProcessor, JSONLSink, MemorySink, OTelSink
from wakelog.events import semconv as s
from wakelog.integrations.genai import WakelogCompletionHook
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.loguru import WakelogSink
from wakelog.journal import read
from wakelog.logger import set_current


@pytest.fixture
def journaled(tmp_path: Path) -> Iterator[Journaled]:
    journaled = Journaled(tmp_path / "journal")
    yield journaled
    journaled.close()


@pytest.fixture
def handled(journaled: Journaled) -> Iterator[tuple[logging.Logger, WakelogHandler]]:
    handler = WakelogHandler(log=journaled.log)
    logger = logging.getLogger("tests.shop")
    logger.setLevel(1)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, handler
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


Handled = tuple[logging.Logger, WakelogHandler]


# --- logging ------------------------------------------------------------------------------------


def test_extra_becomes_attributes_and_arguments_the_text(
    journaled: Journaled, handled: Handled
) -> None:
    before = time.time_ns()

    handled[0].warning("late by %d days", 3, extra={"order": 7, "tags": ["a"], "when": Path("/x")})

    record = journaled.one()
    assert record.body == "late by 3 days"
    assert record.attributes == {"order": 7, "tags": ["a"], "when": "/x"}
    assert (record.severity_number, record.severity_text) == (13, "WARN")
    assert record.scope is not None
    assert record.scope.name == "tests.shop"
    assert record.timestamp is not None
    assert abs(record.timestamp - before) < 60 * 10**9


@pytest.mark.parametrize(
    "level, number, text",
    [
        (1, 1, "Level 1"),
        (9, 4, "Level 9"),
        (10, 5, "DEBUG"),
        (20, 9, "INFO"),
        (25, 11, "Level 25"),
        (30, 13, "WARN"),
        (40, 17, "ERROR"),
        (50, 21, "FATAL"),
        (99, 24, "Level 99"),
    ],
)
def test_every_level_has_its_place(
    journaled: Journaled, handled: Handled, level: int, number: int, text: str
) -> None:
    handled[0].log(level, "x")

    record = journaled.one()
    assert (record.severity_number, record.severity_text) == (number, text)


def test_exceptions_and_stacks_become_what_the_conventions_say(
    journaled: Journaled, handled: Handled
) -> None:
    try:
        raise LookupError("row 7")
    except LookupError:
        handled[0].exception("cannot sell", stack_info=True)

    attributes = journaled.one().attributes
    assert attributes[s.EXCEPTION_TYPE] == "LookupError"
    assert attributes[s.EXCEPTION_MESSAGE] == "row 7"
    assert 'raise LookupError("row 7")' in str(attributes[s.EXCEPTION_STACKTRACE])
    assert str(attributes[s.CODE_STACKTRACE]).startswith("Stack (most recent call last)")


def test_a_message_that_cannot_be_formatted_is_recorded_as_it_is(
    journaled: Journaled, handled: Handled, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"args": ("many",), "levelno": logging.INFO, "levelname": "INFO"}
    # Handed to our handler alone: pytest's own raises what cannot be formatted.
    handled[1].handle(logging.makeLogRecord({**given, "msg": "%d orders"}))

    record = journaled.one()
    assert (record.body, record.attributes) == ("%d orders", {"args": ["many"]})
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_formatter_makes_the_text_and_filters_decide(
    journaled: Journaled, handled: Handled
) -> None:
    logger, handler = handled
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(lambda record: "secret" not in record.getMessage())

    logger.info("sold")
    logger.info("secret")

    assert journaled.one().body == "INFO: sold"


def test_an_event_type_in_extra_makes_an_agent_event(
    journaled: Journaled, handled: Handled
) -> None:
    extra = {"event_type": "tool_call", "tool": "flights", "args": {"to": "LIS"}}
    structured: Any = extra  # `args` is a name of LogRecord's own
    structured["payload"] = {"args": structured.pop("args")}

    handled[0].info("search", extra=structured)

    record = journaled.one()
    assert record.event_name == "wakelog.tool_call"
    assert record.attributes[s.TOOL_NAME] == "flights"
    assert record.attributes[s.TOOL_CALL_ARGUMENTS] == {"to": "LIS"}


def test_what_wakelog_says_itself_is_not_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journaled = Journaled(tmp_path / "small", max_event_bytes=2_000)
    handler = WakelogHandler(log=journaled.log)
    logging.getLogger().addHandler(handler)
    try:
        logging.getLogger("shop").error("too big", extra={"numbers": list(range(5_000))})
        logging.getLogger("wakelog.delivery").error("an outage")
    finally:
        logging.getLogger().removeHandler(handler)

    assert handler.refused == {"EventTooLargeError": 1}
    [stub] = journaled.records()
    assert "wakelog.too_large.bytes" in stub.attributes
    assert any("were not recorded" in message for message in caplog.messages)
    journaled.close()


def test_structlog_in_front_of_the_standard_library_keeps_its_fields(
    journaled: Journaled, handled: Handled
) -> None:
    log = structlog.wrap_logger(
        handled[0],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    log.warning("late", order=7)

    record = journaled.one()
    assert (record.body, record.attributes) == ("late", {"order": 7})


def test_many_threads_lose_nothing(journaled: Journaled, handled: Handled) -> None:
    def work(number: int) -> None:
        for count in range(100):
            handled[0].info("%d", number * 100 + count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(str(r.body)) for r in journaled.records()) == list(range(800))


def test_sinks_without_opentelemetry_take_records_as_custom_events(tmp_path: Path) -> None:
    memory = MemorySink()
    logger = logging.getLogger("tests.other")
    logger.propagate = False
    for sink in (memory, JSONLSink(tmp_path / "events.jsonl")):
        handler = WakelogHandler(log=AgentLogger(sink=sink))
        logger.addHandler(handler)
        logger.warning("late", extra={"order": 7, "event_name": "shop.late"})
        logger.removeHandler(handler)

    [event] = memory.events
    assert event.payload == {"message": "late", "level": "WARN", "logger": "tests.other"}
    assert event.attributes == {"order": 7, "event_name": "shop.late"}
    [entry] = read(tmp_path / "events.jsonl")
    assert entry.record.attributes["order"] == 7


# --- loguru -------------------------------------------------------------------------------------


def test_loguru_hands_over_what_it_knows(journaled: Journaled) -> None:
    logger = loguru.logger
    number = logger.add(WakelogSink(journaled.log), format="{message}", level=0)
    try:
        logger.bind(order=7).success("late by {} days", 3)
        with logger.contextualize(request="r-1"):
            try:
                raise LookupError("row 7")
            except LookupError:
                logger.exception("cannot sell")
        logger.info("hi", event_type="user_message")
    finally:
        logger.remove(number)

    sold, failed, said = journaled.records()
    assert (sold.body, sold.attributes) == ("late by 3 days", {"order": 7})
    assert (sold.severity_number, sold.severity_text) == (11, "SUCCESS")
    assert sold.scope is not None
    assert sold.scope.name == __name__
    assert failed.attributes["request"] == "r-1"
    assert failed.attributes[s.EXCEPTION_TYPE] == "LookupError"
    assert 'raise LookupError("row 7")' in str(failed.attributes[s.EXCEPTION_STACKTRACE])
    assert said.event_name == "wakelog.user_message"


# --- generative AI -------------------------------------------------------------------------------


@pytest.mark.parametrize("configured", [True, False])
def test_the_content_that_instrumentations_collect_goes_to_the_journal(
    journaled: Journaled, configured: bool
) -> None:
    hook = WakelogCompletionHook(None if configured else journaled.log)
    assert isinstance(hook, CompletionHook)
    before = set_current(journaled.log)
    tracers = TracerProvider(shutdown_on_exit=False)
    handler = TelemetryHandler(tracer_provider=tracers, completion_hook=hook)
    try:
        with handler.inference("openai", request_model="gpt-4o") as invocation:
            invocation.input_messages = [InputMessage("user", [Text("mail ann@example.com")])]
            invocation.output_messages = [OutputMessage("assistant", [Text("done")], "stop")]
            invocation.system_instruction = [Text("be brief")]
    finally:
        set_current(before)
        tracers.shutdown()

    record = journaled.one()
    span = invocation.span.get_span_context()
    assert record.event_name == "wakelog.model_response"
    assert (record.trace_id, record.span_id) == (f"{span.trace_id:032x}", f"{span.span_id:016x}")
    assert record.attributes[s.PROVIDER_NAME] == "openai"
    assert record.attributes[s.REQUEST_MODEL] == "gpt-4o"
    assert record.attributes[s.INPUT_MESSAGES] == [
        {"role": "user", "parts": [{"content": "mail [REDACTED]", "type": "text"}]}
    ]
    assert "done" in str(record.attributes[s.OUTPUT_MESSAGES])
    assert "be brief" in str(record.attributes[s.SYSTEM_INSTRUCTIONS])
    assert not hook.refused


@pytest.mark.parametrize("policy", ["", "EVENT_ONLY"])
def test_that_content_leaves_only_where_the_policy_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", policy)
    exporter = InMemoryLogRecordExporter()
    processor = DurableLogRecordProcessor(exporter, directory=tmp_path / "journal")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    hook = WakelogCompletionHook(AgentLogger(sink=OTelSink(provider, required=True)))

    hook.on_completion(
        inputs=[InputMessage("user", [Text("the question")])],
        outputs=[],
        system_instruction=[],
        tool_definitions=[{"name": "search"}],
    )

    assert provider.force_flush()
    provider.shutdown()
    [exported] = exporter.get_finished_logs()
    assert exported.log_record.event_name == "wakelog.model_response"
    assert ("the question" in str(exported.log_record.attributes)) is bool(policy)
    [entry] = read(tmp_path / "journal")
    assert "the question" in str(entry.record.attributes[s.INPUT_MESSAGES])
    assert "search" in str(entry.record.attributes[s.TOOL_DEFINITIONS])


def test_importing_an_integration_loads_no_other_library() -> None:
    import subprocess

    code = (
        "import sys, wakelog.integrations.logging, wakelog.integrations.loguru,"
        " wakelog.integrations.genai\n"
        "print([name for name in ('structlog', 'loguru', 'pytest', 'opentelemetry.util.genai',"
        " 'grpc', 'requests') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
