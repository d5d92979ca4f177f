"""What is on an event of a logger: what is bound, defaults, redacted content, and a call's arguments."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import StatusCode

from wakelog import (
    AgentLogger,
    EventSink,
    JSONLSink,
    MemorySink,
    OTelSink,
    RedactionConfig,
    RedactionError,
    bound,
    context,
)
from wakelog.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


from tests.support.logging_agents import OwnError, Recorded, nothing_is_attached, records_of

# --- bound --------------------------------------------------------------------------------------


def test_what_is_bound_is_on_every_event_inside() -> None:
    recorded = Recorded()

    with bound(
        session_id="s-1", agent="booker", workflow="trip", tenant_id=7, run_id="r-1", tier="gold"
    ):
        inside = recorded.log.user_message("hi")
    outside = recorded.log.user_message("bye")

    assert inside.session_id == "s-1"
    assert inside.agent_name == "booker"
    assert inside.workflow_name == "trip"
    assert inside.tenant_id == "7"
    assert inside.run_id == "r-1"
    assert inside.attributes == {"tier": "gold"}
    assert outside.attributes is None
    assert (outside.session_id, outside.agent_name) == (None, "planner")


def test_the_inner_binding_wins_and_none_takes_away() -> None:
    recorded = Recorded()

    with bound(session_id="outer", **{"app.tier": "gold", "app.zone": 1}):
        with bound(session_id="inner", **{"app.tier": "silver"}):
            inner = recorded.log.user_message("hi")
        with bound(session_id=None, **{"app.tier": None}):
            without = recorded.log.user_message("hi")
        outer = recorded.log.user_message("hi")

    assert (inner.session_id, inner.attributes) == ("inner", {"app.tier": "silver", "app.zone": 1})
    assert (without.session_id, without.attributes) == (None, {"app.zone": 1})
    assert (outer.session_id, outer.attributes) == ("outer", {"app.tier": "gold", "app.zone": 1})


def test_what_an_event_says_itself_wins_over_what_is_bound() -> None:
    recorded = Recorded()

    with bound(session_id="outer", agent="outer", tier="gold"):
        event = recorded.log.emit(
            "custom", session_id="own", agent_name="own", attributes={"tier": "own", "x": 1}
        )

    assert (event.session_id, event.agent_name) == ("own", "own")
    assert event.attributes == {"tier": "own", "x": 1}


def test_bindings_of_tasks_and_threads_keep_apart() -> None:
    recorded = Recorded()

    async def task(name: str, others: asyncio.Barrier) -> None:
        with bound(session_id=name, tier=name):
            await others.wait()
            recorded.log.user_message(name)
            await others.wait()

    async def main() -> None:
        others = asyncio.Barrier(2)
        await asyncio.gather(task("a", others), task("b", others))

    with bound(session_id="main", tier="main"):
        asyncio.run(main())
        thread = threading.Thread(target=recorded.log.user_message, args=("thread",))
        thread.start()
        thread.join()
        after = recorded.log.user_message("main")

    seen = {e.payload["message"]: (e.session_id, e.attributes) for e in recorded.events}
    assert seen["a"] == ("a", {"tier": "a"})
    assert seen["b"] == ("b", {"tier": "b"})
    assert seen["thread"] == (None, None)
    assert (after.session_id, after.attributes) == ("main", {"tier": "main"})


def test_an_exception_takes_the_bindings_away() -> None:
    with pytest.raises(ValueError, match="no"), bound(session_id="s-1", tier="gold"):
        raise ValueError("no")

    assert context.session_id.get() is None
    assert context.bound_attributes() is None


def test_binding_new_names_disturbs_no_thread_that_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context, "attributes", {})
    recorded = Recorded()
    enough = threading.Event()
    problems: list[BaseException] = []

    def record() -> None:
        try:
            with bound(tier="gold"):
                while not enough.is_set():
                    context.bound_attributes()
        except BaseException as error:
            problems.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=record) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for number in range(300):
            with bound(**{f"name.{number}": number}):
                pass
    finally:
        enough.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert problems == []
    assert recorded.log.emit("custom").attributes is None


# --- what is on an event ------------------------------------------------------------------------


def test_the_loggers_defaults_are_added_to_and_never_changed() -> None:
    recorded = Recorded(default_risk={"level": "low"}, metadata={"region": "eu"})

    first = recorded.log.emit("custom", risk={"pii": True}, metadata={"region": "us"})
    second = recorded.log.emit("custom")
    second.metadata["added"] = second.risk["added"] = 1
    third = recorded.log.emit("custom")

    assert (first.risk, first.metadata) == ({"level": "low", "pii": True}, {"region": "us"})
    assert (third.risk, third.metadata) == ({"level": "low"}, {"region": "eu"})


def test_a_payload_that_the_caller_uses_again_keeps_what_was_recorded() -> None:
    recorded = Recorded()
    payload = {"step": 1}

    recorded.log.emit("custom", payload)
    payload["step"] = 2
    recorded.log.emit("custom", payload)

    assert [event.payload for event in recorded.events] == [{"step": 1}, {"step": 2}]


SECRETS: dict[str, Any] = {
    "payload": {"to": "ann@example.com", "password": "hunter2"},
    "risk": {"by": "ann@example.com"},
    "metadata": {"by": "ann@example.com"},
    "attributes": {"app.user": "ann@example.com"},
}


def test_secrets_are_taken_out_unless_that_is_switched_off() -> None:
    redacting, plain = Recorded(), Recorded(redact_payloads=False)

    with bound(owner="ann@example.com"):
        redacted = redacting.log.emit("custom", **SECRETS)
        open_ = plain.log.emit("custom", **SECRETS)

    for event in (redacted, open_):
        assert event.payload.keys() == {"to", "password"}
    shown = redacted.to_json()
    assert "ann@example.com" not in shown
    assert "hunter2" not in shown
    assert open_.payload == SECRETS["payload"]
    assert open_.attributes == {"owner": "ann@example.com", "app.user": "ann@example.com"}
    assert SECRETS["payload"]["password"] == "hunter2"


def test_a_redaction_config_is_used() -> None:
    recorded = Recorded(redaction_config=RedactionConfig(replacement="<gone>"))

    event = recorded.log.user_message("write to ann@example.com")

    assert event.payload == {"message": "write to <gone>"}


class BadDetector:
    """A detector of the caller's with a bug."""

    def redact(self, value: str, strategy: object) -> str:
        if value == "trip over this":
            raise OwnError
        return value


def test_a_detector_that_fails_lets_nothing_through_and_hides_no_exception() -> None:
    recorded = Recorded(redaction_config=RedactionConfig(detectors=(BadDetector(),)))

    with pytest.raises(RedactionError):
        recorded.log.user_message("trip over this")
    with pytest.raises(ValueError, match="trip") as caught, recorded.log.run():
        raise ValueError("trip over this")

    assert recorded.types() == ["run_start", "run_end"]
    assert "OwnError" in "".join(caught.value.__notes__)
    [span] = recorded.spans().values()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert nothing_is_attached()


class Strange:
    """An object whose text cannot be had."""

    def __repr__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


def _cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


STRANGE: dict[str, Callable[[], Any]] = {
    "datetime": lambda: datetime(2026, 11, 21, tzinfo=UTC),
    "bytes": lambda: b"\xff",
    "set": lambda: {1},
    "cycle": _cycle,
    "object without text": Strange,
    "number as key": lambda: {1: 2},
    "huge integer": lambda: 2**70,
    "surrogate": lambda: "a\ud800b",
    "nested": lambda: [{"a": [{"b": (1, None)}]}],
}


@pytest.mark.parametrize("kind", STRANGE)
def test_any_object_reaches_opentelemetry_as_it_reaches_a_file(
    kind: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_ONLY")
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    sinks: list[EventSink] = [OTelSink(provider), JSONLSink(tmp_path / "events.jsonl")]

    for sink in sinks:
        log = AgentLogger(sink=sink, redact_payloads=False)
        log.emit("custom", {"value": STRANGE[kind](), "kept": 1})

    [record] = records_of(tmp_path / "events.jsonl")
    [exported] = exporter.get_finished_logs()
    payload = (exported.log_record.attributes or {})["wakelog.payload"]
    written = record.attributes["wakelog.payload"]
    assert written["kept"] == 1
    if kind not in ("huge integer", "surrogate"):  # which the journal's codec turns into text
        assert _listed(payload) == written
    assert caplog.messages == []


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value


def test_a_mistyped_field_is_named_with_what_there_is() -> None:
    log = AgentLogger("clerk", sink=MemorySink())
    with pytest.raises(TypeError, match=r"tool_call takes no 'arguments'.*attributes.*tool_name"):
        log.tool_call("search", arguments={"q": "x"})
    with (
        pytest.raises(TypeError, match=r"tool_call takes no 'arguments'"),
        log.tool("search", arguments={"q": "x"}),
    ):
        pass


def test_a_redaction_config_of_another_kind_is_refused_at_once() -> None:
    wrong: Any = {"redact_emails": False}

    with pytest.raises(ConfigurationError, match="of type dict; give a RedactionConfig"):
        AgentLogger("a", redaction_config=wrong)


@pytest.mark.parametrize(
    "wrong", ["yesterday", "2026-11-30", 5, 1.5, datetime(2026, 11, 30, tzinfo=UTC)]
)
def test_a_timestamp_that_is_no_rfc_3339_text_is_refused_with_what_to_give(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^timestamp=.* cannot be used: give an RFC 3339 time"):
        Recorded(on_error="raise").log.user_message("hello", timestamp=wrong)


@pytest.mark.parametrize("wrong", [{"event_key": 5}, {"event_key": b"k"}, {"run_id": 5}])
def test_an_event_key_that_is_no_text_is_named_and_costs_no_event_silently(wrong: Any) -> None:
    log = Recorded(on_error="log").log
    keyed = {"event_key": "k", "run_id": "r", **wrong}

    with pytest.raises(
        TypeError, match=r"^(event_key|run_id)=.* is of type (int|bytes); give text"
    ):
        log.user_message("hello", **keyed)
    with log.run(run_id=keyed["run_id"]):
        block = log.tool("pay", event_key=keyed["event_key"])
        with pytest.raises(TypeError, match="give text"), block:
            raise AssertionError
