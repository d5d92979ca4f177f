"""structlog: what passes through the chain is recorded, whatever it is, and passed on."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import trace

from tests.support.journaled import Journaled
from wakelog import RedactionConfig, bound
from wakelog.events import semconv as s
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.structlog import WakelogProcessor, development_chain, production_chain
from wakelog.journal import Durability
from wakelog.logger import set_current
from wakelog.runtime import SYSTEM


@pytest.fixture
def journaled(tmp_path: Path) -> Iterator[Journaled]:
    journaled = Journaled(tmp_path / "journal")
    structlog.contextvars.clear_contextvars()
    yield journaled
    structlog.contextvars.clear_contextvars()
    journaled.close()


class Seen:
    """Ends a chain and keeps what reached its end."""

    def __init__(self) -> None:
        self.event_dicts: list[dict[str, Any]] = []

    def __call__(self, logger: object, name: str, event_dict: Any) -> Any:
        self.event_dicts.append(dict(event_dict))
        raise structlog.DropEvent


def chain(*processors: Any, logger: object = None) -> Any:
    return structlog.wrap_logger(
        logger,
        processors=list(processors),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    ).bind()


def test_what_is_logged_is_in_the_journal_and_goes_on_unchanged(journaled: Journaled) -> None:
    seen = Seen()
    log = chain(WakelogProcessor(journaled.log), seen)
    before = time.time_ns()

    log.info("order shipped", order=7, tags=["a", "b"], nested={"x": 1.0}, none=None)

    record = journaled.one()
    assert record.body == "order shipped"
    assert record.attributes == {"order": 7, "tags": ["a", "b"], "nested": {"x": 1.0}, "none": None}
    assert (record.severity_number, record.severity_text) == (9, "INFO")
    assert record.timestamp is not None
    assert before <= record.timestamp <= time.time_ns()
    assert record.scope is not None
    assert record.scope.name == "structlog"
    assert seen.event_dicts == [
        {
            "event": "order shipped",
            "order": 7,
            "tags": ["a", "b"],
            "nested": {"x": 1.0},
            "none": None,
        }
    ]


@pytest.mark.parametrize(
    "method, number, text",
    [
        ("debug", 5, "DEBUG"),
        ("info", 9, "INFO"),
        ("warning", 13, "WARN"),
        ("warn", 13, "WARN"),
        ("error", 17, "ERROR"),
        ("exception", 17, "ERROR"),
        ("critical", 21, "FATAL"),
        ("fatal", 21, "FATAL"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_the_severity_is_the_level(
    journaled: Journaled, method: str, number: int, text: str, named: bool
) -> None:
    add = [structlog.processors.add_log_level] if named else []
    log = chain(*add, WakelogProcessor(journaled.log, last=True))

    getattr(log, method)("x")

    record = journaled.one()
    assert (record.severity_number, record.severity_text) == (number, text)
    assert "level" not in record.attributes


def test_a_level_of_ones_own_keeps_its_name(journaled: Journaled) -> None:
    WakelogProcessor(journaled.log)(None, "notice", {"event": "x"})

    record = journaled.one()
    assert (record.severity_number, record.severity_text) == (None, "NOTICE")


@pytest.mark.parametrize("level", [5, {"hard": True}, ["a"], "boss", ""])
def test_a_level_that_is_none_stays_an_attribute(journaled: Journaled, level: object) -> None:
    chain(WakelogProcessor(journaled.log, last=True)).warning("x", level=level)

    record = journaled.one()
    assert (record.severity_text, record.attributes) == ("WARN", {"level": level})


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": "03:04"},
        {"timestamp": -1},
        {"timestamp": float("inf")},
        {"timestamp": 1e300},
        {"logger": 7},
        {"stack": ["a", "b"]},
        {"logger_name": "x"},
    ],
    ids=str,
)
def test_what_only_looks_like_structlogs_own_stays_an_attribute(
    journaled: Journaled, fields: dict[str, Any]
) -> None:
    chain(WakelogProcessor(journaled.log, last=True)).info("x", **fields)

    assert journaled.one().attributes == fields


def test_an_object_that_cannot_be_looked_at_costs_its_text_and_no_record(
    journaled: Journaled,
) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("both")

    processor = WakelogProcessor(journaled.log)

    for key in ("exc_info", "level", "timestamp", "logger", "stack", "exception", "event", "x"):
        event_dict: dict[Any, Any] = {"event": "x", 7: "seven", key: Undecided()}
        assert processor(None, "info", event_dict) is event_dict

    assert processor.refused == {}
    assert len(journaled.records()) == 8
    assert journaled.records()[0].attributes["7"] == "seven"


@pytest.mark.parametrize("merged", [True, False])
def test_bound_context_becomes_attributes(journaled: Journaled, merged: bool) -> None:
    first = [structlog.contextvars.merge_contextvars] if merged else []
    log = chain(*first, WakelogProcessor(journaled.log, last=True))
    structlog.contextvars.bind_contextvars(request="r-1", order=1)

    with bound(session_id="s-1", tenant_id="t-1", **{"app.tier": "gold"}):
        log.bind(user="ann").info("x", order=2)

    assert journaled.one().attributes == {
        "request": "r-1",
        "user": "ann",
        "order": 2,
        "app.tier": "gold",
        s.CONVERSATION_ID: "s-1",
        s.TENANT_ID: "t-1",
    }


def test_inside_a_run_a_record_belongs_to_it_and_to_its_span(journaled: Journaled) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    with journaled.log.run(session_id="s-1") as run_id:
        span = trace.get_current_span().get_span_context()
        log.info("inside")

    record = journaled.records()[1]
    assert record.attributes[s.RUN_ID] == run_id
    assert record.attributes[s.CONVERSATION_ID] == "s-1"
    assert record.trace_id == f"{span.trace_id:032x}"
    assert record.span_id == f"{span.span_id:016x}"
    assert record.trace_flags == span.trace_flags


def test_a_record_may_be_an_event(journaled: Journaled) -> None:
    chain(WakelogProcessor(journaled.log, last=True)).info("sold", event_name="shop.sold", n=1)

    record = journaled.one()
    assert (record.event_name, record.body, record.attributes) == ("shop.sold", "sold", {"n": 1})


class Shelf:
    class EmptyError(Exception):
        """Its name is qualified."""


@pytest.mark.parametrize(
    "before",
    [[], [structlog.processors.format_exc_info], [structlog.processors.dict_tracebacks]],
    ids=["bare", "format_exc_info", "dict_tracebacks"],
)
def test_an_exception_becomes_what_the_conventions_say(
    journaled: Journaled, before: list[Any]
) -> None:
    log = chain(*before, WakelogProcessor(journaled.log, last=True))

    try:
        raise Shelf.EmptyError("row", 7)
    except Shelf.EmptyError:
        log.exception("cannot sell")

    attributes = journaled.one().attributes
    assert attributes[s.EXCEPTION_STACKTRACE]
    if not before:
        assert attributes[s.EXCEPTION_TYPE] == f"{__name__}.Shelf.EmptyError"
        assert attributes[s.EXCEPTION_MESSAGE] == "('row', 7)"
        assert "raise Shelf.EmptyError" in str(attributes[s.EXCEPTION_STACKTRACE])
    if before == [structlog.processors.dict_tracebacks]:
        assert attributes[s.EXCEPTION_TYPE] == "EmptyError"
    assert not {"exc_info", "exception"} & attributes.keys()


@pytest.mark.parametrize("given", ["instance", "tuple", "builtin", "none"])
def test_an_exception_may_be_handed_over(journaled: Journaled, given: str) -> None:
    error = KeyError("k")
    exc_info = {
        "instance": error,
        "tuple": (KeyError, error, None),
        "builtin": error,
        "none": True,  # nothing is being handled
    }[given]

    chain(WakelogProcessor(journaled.log, last=True)).info("x", exc_info=exc_info)

    attributes = journaled.one().attributes
    assert attributes.get(s.EXCEPTION_TYPE) == (None if given == "none" else "KeyError")


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no words")

    __str__ = __repr__


def test_any_object_is_recorded_in_a_defined_form_without_a_warning(
    journaled: Journaled, caplog: pytest.LogCaptureFixture
) -> None:
    cycle: dict[str, Any] = {}
    cycle["me"] = cycle
    log = chain(WakelogProcessor(journaled.log, last=True))

    log.info(
        "x",
        path=Path("/tmp"),
        exact={1, 2},
        raw=b"\x00",
        big=2**70,
        nan=float("nan"),
        lone="\ud800",
        cycle=cycle,
        broken=Broken(),
        kind=int,
    )
    log.info(Broken())
    log.info(None)

    first, second, third = journaled.records()
    assert first.attributes["path"] == "/tmp"
    assert first.attributes["exact"] == [1, 2]
    assert first.attributes["raw"] == b"\x00"
    assert first.attributes["big"] == str(2**70)
    assert first.attributes["nan"] != first.attributes["nan"]
    assert first.attributes["lone"] == "\ufffd"
    assert "Broken object" in str(first.attributes["broken"])
    assert "Broken object" in str(second.body)
    assert third.body is None
    assert caplog.messages == []


def test_what_the_redaction_takes_out_is_in_no_record(journaled: Journaled, tmp_path: Path) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    try:
        raise ValueError("token=abcdef0123456789abcdef")
    except ValueError:
        log.exception("mail from ann@example.com", password="hunter2", to="bob@example.com")

    written = b"".join(file.read_bytes() for file in (tmp_path / "journal").rglob("*.jsonl"))
    for secret in (b"ann@", b"hunter2", b"bob@", b"abcdef0123456789"):
        assert secret not in written
    journaled.log.redaction_config = RedactionConfig(redact_emails=False)
    log.info("mail from ann@example.com")
    assert journaled.records()[-1].body == "mail from ann@example.com"
    journaled.log.redact_payloads = False
    log.info("x", password="hunter2")
    assert journaled.records()[-1].attributes == {"password": "hunter2"}


def test_the_time_is_the_one_that_was_stamped(journaled: Journaled) -> None:
    processor = WakelogProcessor(journaled.log)
    before = time.time_ns()
    stamps: list[object] = [
        "2026-01-02T03:04:05.678901Z",
        1767323045.5,
        "03:04",
        "2026-01-02T03:04:05",
    ]

    for stamp in stamps:
        processor(None, "info", {"event": "x", "timestamp": stamp})

    first, second, *others = (record.timestamp for record in journaled.records())
    assert first == 1767323045_678901000
    assert second == 1767323045_500000000
    assert all(time_ is not None and before <= time_ for time_ in others)


ZONES = ("Z", "+00:00", "+05:30", "-0800")


@pytest.mark.parametrize(
    "stamp",
    [
        *(f"2026-01-02T03:04:05{zone}" for zone in ZONES),
        "2026-01-02 03:04:05.5+00:00",
        "2026-01-02T03:04Z",
        "20260102T030405Z",
        dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=5, seconds=7))),
        1767323045,
        1767323045.25,
    ],
    ids=str,
)
def test_a_sure_time_is_the_records(journaled: Journaled, stamp: Any) -> None:
    chain(WakelogProcessor(journaled.log, last=True)).info("x", timestamp=stamp)

    record = journaled.one()
    moment = dt.datetime.fromisoformat(stamp) if isinstance(stamp, str) else stamp
    seconds = moment.timestamp() if isinstance(moment, dt.datetime) else moment
    assert record.timestamp == pytest.approx(seconds * 1e9, abs=1000)
    assert record.attributes == {}


@pytest.mark.parametrize(
    "fmt",
    ["%s", "%Y", "%Y%m%d", "%Y%m%d%H%M%S", "%j", "%H:%M", "%H:%M:%S.%f", "%Y-%m-%d", "%c", "%x", "%s.%f",
     "%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S", "at noon", ""],
)  # fmt: skip
@pytest.mark.parametrize("utc", [True, False])
@pytest.mark.parametrize("way", ["direct", "wrapped", "keywords"])
def test_a_stamp_that_is_no_sure_time_is_an_attribute_and_the_time_is_now(
    journaled: Journaled, fmt: str, utc: bool, way: str
) -> None:
    before = time.time_ns()

    through(journaled, way, structlog.processors.TimeStamper(fmt=fmt, utc=utc)).info("x")

    record = journaled.one()
    assert record.timestamp is not None
    assert abs(record.timestamp - before) < 60 * 10**9
    assert type(record.attributes["timestamp"]) is str


@pytest.mark.parametrize(
    "stamp", [20260101, 2026, 20260101120000, 0, -1, True, float("nan"), dt.datetime(2026, 1, 2),
              dt.date(2026, 1, 2), None, b"2026-01-02T03:04:05Z", 1767323045678],
    ids=str,
)  # fmt: skip
def test_a_number_or_object_that_is_no_sure_time_is_an_attribute(
    journaled: Journaled, stamp: Any
) -> None:
    before = time.time_ns()

    chain(WakelogProcessor(journaled.log, last=True)).info("x", timestamp=stamp)

    record = journaled.one()
    assert record.timestamp is not None
    assert before <= record.timestamp
    assert "timestamp" in record.attributes


WAYS = ("direct", "wrapped", "keywords")


def through(journaled: Journaled, way: str, *processors: Any) -> Any:
    """Return a logger whose chain ends in Wakelog, itself or by way of the standard library."""
    logger = logging.Logger("tests.shop")  # noqa: LOG001 - one that no other test sees
    logger.addHandler(WakelogHandler(log=journaled.log))
    logger.addHandler(logging.NullHandler())
    end: Any = {
        "direct": WakelogProcessor(journaled.log, last=True),
        "wrapped": structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        "keywords": structlog.stdlib.render_to_log_kwargs,
    }[way]
    return structlog.wrap_logger(
        logger, processors=[*processors, end], wrapper_class=structlog.stdlib.BoundLogger
    )


CHAINS: dict[str, list[Any]] = {
    "bare": [],
    "levels and names": [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_log_level_number,
        structlog.stdlib.add_logger_name,
    ],
    "times": [structlog.processors.TimeStamper(fmt="iso"), structlog.stdlib.add_log_level],
    "unix times": [structlog.processors.TimeStamper()],
    "arguments": [structlog.stdlib.PositionalArgumentsFormatter()],
    "stack": [structlog.processors.StackInfoRenderer()],
    "exceptions as text": [structlog.stdlib.add_log_level, structlog.processors.format_exc_info],
    "exceptions as dicts": [structlog.processors.dict_tracebacks],
    "exceptions as dicts without locals": [
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
    ],
    "exc_info of the exception": [structlog.processors.ExceptionPrettyPrinter(io.StringIO())],
    "callsite": [
        structlog.processors.CallsiteParameterAdder(
            {
                structlog.processors.CallsiteParameter.FUNC_NAME,
                structlog.processors.CallsiteParameter.THREAD_NAME,
                structlog.processors.CallsiteParameter.PROCESS_NAME,
            }
        )
    ],
    "the manual's": [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ],
}


def said(journaled: Journaled, way: str, processors: list[Any], call: str) -> dict[str, Any]:
    """Log in one of the ways, and return what is recorded of it."""
    log = through(journaled, way, *processors)
    try:
        raise LookupError("row 7")
    except LookupError as error:
        match call:
            case "message":
                log.warning("late", order=7, tags=["a"])
            case "exception":
                log.exception("late", order=7)
            case "error":
                log.error("late", exc_info=error)  # noqa: TRY400 - the other way to say it
            case "stack":
                log.info("late", stack_info=True)
            case "event":
                log.info("late", event_type="tool_call", tool="flights", risk={"level": "low"})
            case "bound":
                with structlog.contextvars.bound_contextvars(user="u1"):
                    log.bind(order=7).critical("late")
    record = journaled.records()[-1]
    fields = {name: getattr(record, name) for name in (
        "body", "event_name", "severity_number", "severity_text", "scope", "attributes",
    )}  # fmt: skip
    # The lines of this function that are on the stack differ in nothing but their number.
    for name in (s.CODE_STACKTRACE, s.EXCEPTION_STACKTRACE):
        if name in fields["attributes"]:
            fields["attributes"][name] = type(fields["attributes"][name])
    assert record.timestamp is not None
    assert abs(record.timestamp - time.time_ns()) < 60 * 10**9
    return fields


@pytest.mark.parametrize("call", ["message", "exception", "error", "stack", "event", "bound"])
@pytest.mark.parametrize("name", CHAINS)
def test_the_record_is_the_same_by_way_of_the_standard_library(
    journaled: Journaled, name: str, call: str
) -> None:
    processors = CHAINS[name]

    direct = said(journaled, "direct", processors, call)
    wrapped = said(journaled, "wrapped", processors, call)
    keywords = said(journaled, "keywords", processors, call)

    assert wrapped == direct
    if call != "bound" or name == "the manual's":  # what is bound is no keyword otherwise
        assert keywords == direct
    if call in ("exception", "error") and name not in (
        "exceptions as text",
        "exc_info of the exception",
    ):
        kind = "LookupError"
        assert direct["attributes"][s.EXCEPTION_TYPE] == kind
        assert direct["attributes"][s.EXCEPTION_MESSAGE] == "row 7"


@pytest.mark.parametrize("way", ["wrapped", "keywords"])
def test_the_time_by_way_of_the_standard_library_is_the_one_that_was_stamped(
    journaled: Journaled, way: str
) -> None:
    through(journaled, way).info("x", timestamp="2026-01-02T03:04:05.678901Z")

    record = journaled.one()
    assert (record.timestamp, record.attributes) == (1767323045_678901000, {})


def test_the_standard_librarys_wrapper_names_the_logger_and_its_arguments(
    journaled: Journaled,
) -> None:
    log = structlog.wrap_logger(
        logging.getLogger("shop.orders"),
        processors=[structlog.stdlib.add_logger_name, WakelogProcessor(journaled.log, last=True)],
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    log.warning("late by %d days", 3, order=7)

    record = journaled.one()
    assert record.scope is not None
    assert (record.scope.name, record.body) == ("shop.orders", "late by 3 days")
    assert record.attributes == {"order": 7}


def test_async_loggers_record_before_they_return(journaled: Journaled) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    async def main() -> None:
        structlog.contextvars.bind_contextvars(request="r-1")
        with journaled.log.run() as run_id:
            await log.ainfo("one", n=1)
            assert journaled.records()[-1].attributes == {
                "request": "r-1",
                "n": 1,
                s.RUN_ID: run_id,
                s.PARENT_ID: journaled.records()[0].id,
            }
            assert journaled.records()[-1].span_id
        try:
            raise KeyError("k")
        except KeyError:
            await log.aexception("two")
        assert journaled.records()[-1].attributes[s.EXCEPTION_TYPE] == "KeyError"

    asyncio.run(main())


def test_an_event_may_ask_for_more_durability(
    journaled: Journaled, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    fdatasync = SYSTEM.fdatasync

    def noting(descriptor: int) -> None:
        syncs.append(descriptor)
        fdatasync(descriptor)

    monkeypatch.setattr(SYSTEM, "fdatasync", noting)
    log = chain(WakelogProcessor(journaled.log, last=True))
    numbers = []
    events: list[dict[str, Any]] = [
        {"durability": Durability.FSYNC},
        {"durability": "solid"},
        {"event_type": "decision", "durability": Durability.FSYNC},
    ]
    for event in events:
        log.info("x", **event)
        numbers.append(len(syncs))

    assert numbers == [1, 1, 2]
    assert [record.attributes.get("durability") for record in journaled.records()] == [
        None,
        "solid",
        None,
    ]


# --- agent events -------------------------------------------------------------------------------


def test_an_event_type_makes_an_agent_event(journaled: Journaled) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    with journaled.log.run(session_id="s-1") as run_id:
        log.info(
            "search",
            event_type="tool_call",
            tool="flights",
            call_id="c-1",
            args={"to": "LIS"},
            risk={"level": "low"},
            attempt=2,
        )

    event = journaled.records()[1]
    assert event.event_name == "wakelog.tool_call"
    assert event.body is None
    assert event.scope is not None
    assert event.scope.name == s.SCOPE_NAME
    assert event.attributes == {
        s.OPERATION_NAME: s.EXECUTE_TOOL,
        s.TOOL_NAME: "flights",
        s.TOOL_CALL_ID: "c-1",
        s.TOOL_CALL_ARGUMENTS: {"to": "LIS"},
        s.CONVERSATION_ID: "s-1",
        s.AGENT_NAME: "clerk",
        s.RUN_ID: run_id,
        s.PARENT_ID: journaled.records()[0].id,
        s.RISK: {"level": "low"},
        s.PAYLOAD: {"message": "search"},
        "attempt": 2,
    }


@pytest.mark.parametrize(
    "event_type, attribute, value",
    [
        (
            "user_message",
            s.INPUT_MESSAGES,
            [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
        ),
        ("decision", s.DECISION, "hi"),
        ("retrieval_query", s.RETRIEVAL_QUERY_TEXT, "hi"),
        ("error", s.EXCEPTION_MESSAGE, "hi"),
        ("custom", s.PAYLOAD, {"message": "hi"}),
    ],
)
def test_the_text_stands_where_the_type_has_a_place_for_it(
    journaled: Journaled, event_type: str, attribute: str, value: object
) -> None:
    chain(WakelogProcessor(journaled.log, last=True)).info("hi", event_type=event_type)

    assert journaled.one().attributes[attribute] == value


def test_an_error_event_describes_its_exception(journaled: Journaled) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    try:
        raise Shelf.EmptyError("row 7")
    except Shelf.EmptyError:
        log.exception("cannot sell", event_type="error", status="error")

    record = journaled.one()
    assert (record.event_name, record.severity_text) == ("wakelog.error", "ERROR")
    assert record.attributes[s.ERROR_TYPE] == f"{__name__}.Shelf.EmptyError"
    assert record.attributes[s.EXCEPTION_MESSAGE] == "row 7"
    assert "raise Shelf" in str(record.attributes[s.EXCEPTION_STACKTRACE])
    assert record.attributes[s.PAYLOAD] == {"message": "cannot sell"}


@pytest.mark.parametrize("event_type", ["click", "tool_cal", "", 7, None])
def test_an_event_type_of_the_programs_own_is_an_attribute(
    journaled: Journaled, event_type: object
) -> None:
    log = chain(WakelogProcessor(journaled.log, last=True))

    log.info("x", event_type=event_type, tool="t")

    record = journaled.one()
    assert (record.event_name, record.body) == (None, "x")
    assert record.attributes == {"event_type": event_type, "tool": "t"}


# --- what is set up, and what fails --------------------------------------------------------------


def test_without_arguments_it_uses_what_is_set_up_when_something_is_logged(
    journaled: Journaled,
) -> None:
    log = chain(WakelogProcessor(last=True))

    before = set_current(journaled.log)
    try:
        log.info("after")
    finally:
        set_current(before)

    assert journaled.one().body == "after"


def test_a_record_that_nothing_takes_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakelog.integrations._recorder.get_logger_provider", object)
    seen = Seen()
    processor = WakelogProcessor()
    log = chain(processor, seen)

    before = set_current(None)
    try:
        for _ in range(3):
            log.info("lost", secret="x")
    finally:
        set_current(before)

    assert processor.refused == {"NotConfigured": 3}
    assert len(seen.event_dicts) == 3
    [message] = caplog.messages
    assert "call wakelog.configure()" in message


def test_a_journal_that_refuses_never_raises_into_the_program(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journaled = Journaled(tmp_path / "journal", max_event_bytes=2_000)
    seen = Seen()
    processor = WakelogProcessor(journaled.log)
    log = chain(processor, seen)

    for _ in range(3):
        log.info("big", numbers=list(range(5_000)))
    log.info("small")

    assert processor.refused == {"EventTooLargeError": 3}
    assert len(seen.event_dicts) == 4
    assert len(caplog.messages) == 1
    *stubs, small = journaled.records()
    assert small.body == "small"
    assert ["wakelog.too_large.bytes" in stub.attributes for stub in stubs] == [True] * 3
    journaled.close()


def test_what_recording_itself_logs_is_counted_and_not_recorded(journaled: Journaled) -> None:
    processor = WakelogProcessor(journaled.log, last=True)
    log = chain(processor)

    class Chatty:
        def __str__(self) -> str:
            log.info("somebody asks")
            return "chatty"

    log.info("x", value=Chatty())

    assert journaled.one().attributes == {"value": "chatty"}
    assert processor.refused["Recursive"] > 0


@pytest.mark.parametrize("make", [development_chain, production_chain])
def test_the_chains_record_and_print(
    journaled: Journaled, capsys: pytest.CaptureFixture[str], make: Any
) -> None:
    log = chain(*make(journaled.log), logger=structlog.PrintLogger())
    structlog.contextvars.bind_contextvars(request="r-1")

    try:
        secret = "a local that stays here"  # noqa: F841 - it must not be printed
        raise KeyError("k")
    except KeyError:
        log.exception("order failed", order=7)

    record = journaled.one()
    assert (record.body, record.attributes["request"]) == ("order failed", "r-1")
    assert record.attributes[s.EXCEPTION_TYPE] == "KeyError"
    printed = capsys.readouterr().out
    assert "order failed" in printed
    if make is production_chain:
        assert "a local" not in printed
        assert printed.count("\n") == 1
