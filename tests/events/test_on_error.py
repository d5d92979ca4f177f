"""An observability library does not stop the agent: ``on_error``, and who is told all the same."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider

import wakelog
from wakelog import AgentLogger, AsyncAgentLogger, Durability, SinkError
from wakelog.audit._sinks import LoggerAuditSink
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.otel._made import made

TINY = wakelog.Space(quota_bytes=64 * 1024, quota_policy="refuse")
LARGE = "x" * 100_000


class Broken:
    """A sink of somebody's that accepts nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, event: wakelog.AgentEvent) -> None:
        raise self.error


class BrokenDetector:
    def redact(self, value: str, strategy: Any) -> str:
        message = "the detector has a bug"
        raise KeyError(message)


def calls_of(log: Any) -> dict[str, Any]:
    return {
        "event": lambda **more: log.user_message("x", **more),
        "emit": lambda **more: log.emit("custom", {"a": 1}, **more),
        "tool": lambda **more: log.tool("search", {"q": 1}, **more),
        "run": log.run,
        "model": lambda **more: log.model("m", **more),
    }


ERRORS = [SinkError("no"), OSError("no"), wakelog.BufferFullError("no"), RuntimeError("no")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", ["event", "emit", "tool", "run", "model"])
def test_the_agent_goes_on_and_each_failure_is_counted(error: Exception, call: str) -> None:
    log = AgentLogger("a", sink=Broken(error), on_error="log")
    did = []

    answer = calls_of(log)[call]()
    if call in ("tool", "run", "model"):
        with answer:
            did.append("the tool ran")
        assert did
    else:
        assert answer.receipt is None

    expected = type(error).__name__ if isinstance(error, SinkError) else "SinkError"
    assert set(log.refused) == {expected}
    assert log.refused.total() == (2 if did else 1)


@pytest.mark.parametrize("call", ["event", "emit", "tool", "model"])
def test_a_call_that_asks_for_the_disk_is_answered(call: str) -> None:
    log = AgentLogger("a", sink=Broken(OSError("no")), on_error="log")

    def use() -> None:
        answer = calls_of(log)[call](durability=Durability.FSYNC)
        if call in ("tool", "model"):
            with answer:
                pytest.fail("the body must not run without its intent on the disk")

    with pytest.raises(SinkError):
        use()
    assert log.refused.total() == 0


def test_a_logger_over_a_sink_raises_unless_it_is_told_otherwise() -> None:
    with pytest.raises(SinkError):
        AgentLogger("a", sink=Broken(OSError("no"))).user_message("x")
    with pytest.raises(wakelog.ConfigurationError, match="on_error='never' is not known"):
        AgentLogger("a", on_error="never")  # type: ignore[arg-type]


def test_it_is_said_once_in_a_burst(caplog: pytest.LogCaptureFixture) -> None:
    from wakelog.logger import _refusing

    _refusing._not_recorded._reset()
    log = AgentLogger("a", sink=Broken(OSError("the disk is full")), on_error="log")

    with caplog.at_level(logging.ERROR, logger="wakelog"):
        for _ in range(100):
            log.user_message("x")

    [line] = [record.getMessage() for record in caplog.records]
    assert "not recorded so far: 1" in line
    assert "the disk is full" in line
    assert "WAKELOG_ON_ERROR=raise" in line
    assert log.refused == {"SinkError": 100}


def test_a_detector_with_a_bug_stops_no_agent_and_lets_nothing_through() -> None:
    sink = wakelog.MemorySink()
    config = wakelog.RedactionConfig(detectors=(BrokenDetector(),))
    log = AgentLogger("a", sink=sink, redaction_config=config, on_error="log")

    with log.tool("search", {"q": "secret"}) as call:
        call.result("found")

    assert log.refused["RedactionError"] == 2
    assert not any("secret" in str(event.payload) for event in sink.events)
    with pytest.raises(wakelog.RedactionError):
        log.user_message("secret", durability=Durability.FSYNC)


def test_a_call_that_makes_no_sense_is_an_error_whatever_is_set() -> None:
    log = AgentLogger("a", sink=wakelog.MemorySink(), on_error="log")

    with pytest.raises(TypeError, match="takes no 'colour'"):
        log.user_message("x", colour="red")
    with pytest.raises(wakelog.InvalidEventTypeError):
        log.emit("user_massage")


def test_asyncio_goes_on_too_and_is_answered_when_it_asks() -> None:
    class Late:
        async def write(self, event: wakelog.AgentEvent) -> None:
            message = "no"
            raise OSError(message)

    async def use() -> Any:
        log: Any = AsyncAgentLogger("a", sink=Late(), on_error="log")
        await log.user_message("x")
        async with log.tool("search"):
            pass
        with pytest.raises(SinkError):
            await log.user_message("x", durability=Durability.FSYNC)
        over = AsyncAgentLogger.over(log)
        assert (over.on_error, over.refused) == ("log", log.refused)
        return log

    assert asyncio.run(use()).refused == {"SinkError": 3}


@pytest.mark.parametrize("given, variable, raises", [
    (None, None, False), ("log", "raise", False), ("raise", None, True), (None, "raise", True),
    (None, "LOG", False),
])  # fmt: skip
def test_configure_goes_on_unless_an_argument_or_the_variable_says_raise(
    tmp_path: Path, given: Any, variable: str | None, raises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("WAKELOG_ON_ERROR", variable)
    log = wakelog.configure("a", directory=tmp_path, space=TINY, on_error=given)
    assert wakelog.get_logger("b").on_error == ("raise" if raises else "log")

    def use() -> None:
        for _ in range(10):
            log.user_message(LARGE)

    if raises:
        with pytest.raises(wakelog.QuotaExceededError):
            use()
    else:
        use()
        assert log.refused["QuotaExceededError"] > 0
    made.end_recording(0)


def test_audit_hears_of_what_the_logger_keeps_to_itself() -> None:
    sink = LoggerAuditSink(AgentLogger("a", sink=Broken(OSError("no")), on_error="log"))

    sink.record_agent_handoff("a", "b")

    assert sink.failed == 1


def test_what_another_processor_raises_after_the_journal_has_it_is_no_failure(
    tmp_path: Path,
) -> None:
    class Bad(DurableLogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            message = "a bug"
            raise RuntimeError(message)

    provider = LoggerProvider(shutdown_on_exit=False)
    ours = DurableLogRecordProcessor(None, directory=tmp_path / "a")
    provider.add_log_record_processor(ours)
    provider.add_log_record_processor(Bad(None, directory=tmp_path / "b"))
    log = AgentLogger("a", sink=OTelSink(provider, required=True))

    assert log.user_message("x").receipt is not None
    ours.shutdown()
