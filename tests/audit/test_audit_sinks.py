"""Audit sinks: they never raise, block or lose, and keep the order of each thread."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.trace import TracerProvider

import wakelog
from tests.conftest import ROOT
from wakelog import AgentEvent, AgentLogger, ConfigurationError, MemorySink, SessionLogError
from wakelog.audit import (
    AuditSink,
    FanOutAuditSink,
    InMemorySessionLog,
    JournalSessionLog,
    Logged,
    LoggerAuditSink,
    SessionAuditSink,
    SQLiteSessionLog,
    ThreadKey,
    UsageAxis,
    UsageLimitBreach,
    current_audit_sink,
    using_audit_sink,
)

KEY = ThreadKey("acme", "t-1")
BREACH = UsageLimitBreach("cost_usd", Decimal("1.00"), Decimal("1.07"))  # type: ignore[arg-type] # as text
SECONDS = 60


def loaded(log: Any, key: ThreadKey = KEY) -> list[Logged]:
    result: list[Logged] = asyncio.run(log.load_since(key, 0))
    return result


def record_all(sink: AuditSink) -> None:
    sink.record_sub_agent_invoked("helper", "t-2")
    sink.record_agent_handoff(None, "planner")
    sink.record_agent_handoff("planner", "booker")
    sink.record_resumed("")
    sink.record_memory_recall("semantic", "user/17", 3)
    sink.record_usage_limit_exceeded(BREACH)
    sink.record_context_compacted(700, 300)


ALL = [
    ("sub_agent_invoked", {"agent_id": "helper", "sub_thread_id": "t-2"}),
    ("agent_handoff", {"from": None, "to": "planner"}),
    ("agent_handoff", {"from": "planner", "to": "booker"}),
    ("resumed", {"from_checkpoint": ""}),
    ("memory_recall", {"tier": "semantic", "namespace_key": "user/17", "hits": 3}),
    ("usage_limit_exceeded", {"kind": "cost_usd", "limit": "1.00", "observed": "1.07"}),
    ("context_compacted", {"dropped_chars": 700, "retained_chars": 300}),
]


class SlowLog(InMemorySessionLog):
    """A log that appends only when it is let."""

    append_now = None  # type: ignore[assignment] # so that the sink has to queue

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.batches: list[int] = []
        self.broken: Exception | None = None

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        await asyncio.to_thread(self.let.wait, SECONDS)
        self.batches.append(len(events))
        if self.broken is not None:
            raise self.broken
        return InMemorySessionLog.append_now(self, key, events, 0)


# What is recorded


@pytest.mark.parametrize("backend", ["memory", "journal", "sqlite"])
def test_each_record_is_an_event_with_what_the_channel_was_told(
    backend: str, tmp_path: Path
) -> None:
    log: Any = {
        "memory": InMemorySessionLog,
        "journal": lambda: JournalSessionLog(tmp_path / "log"),
        "sqlite": lambda: SQLiteSessionLog(tmp_path / "log.db"),
    }[backend]()
    sink = SessionAuditSink(log, KEY)
    provider = TracerProvider(shutdown_on_exit=False)

    with (
        provider.get_tracer("t").start_as_current_span("run") as span,
        wakelog.bound(run_id="r-1", agent="planner", **{"app.tier": "gold"}),
    ):
        record_all(sink)

    assert sink.flush(SECONDS)
    logged = loaded(log)
    assert [(one.event.event_type, one.event.payload) for one in logged] == ALL
    assert [one.ordinal for one in logged] == list(range(1, 8))
    where = span.get_span_context()
    for _, event in logged:
        assert (event.run_id, event.agent_name) == ("r-1", "planner")
        assert (event.session_id, event.tenant_id) == ("t-1", "acme")
        assert event.attributes == {"app.tier": "gold"}
        assert event.span_context == (where.trace_id, where.span_id, where.trace_flags)
    assert sink.counts() == (7, 0, 0, 0)
    if backend == "sqlite":
        log.close()


def test_a_breach_says_in_words_what_was_overrun_and_takes_no_floats() -> None:
    assert str(BREACH) == "cost: 1.07 USD spent, 1.00 USD allowed"
    tokens = UsageLimitBreach(UsageAxis.INPUT_TOKENS, 10, 12)
    assert str(tokens) == "input tokens: 12 used, 10 allowed"
    assert UsageLimitBreach.from_payload(tokens.payload()) == tokens
    assert UsageLimitBreach.from_payload(BREACH.payload()) == BREACH
    for axis, limit in (("cost_usd", 1.0), ("cost_usd", 1), ("requests", True), ("seconds", 1)):
        with pytest.raises(ConfigurationError):
            UsageLimitBreach(axis, limit, limit)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        UsageLimitBreach.from_payload({"kind": "requests", "limit": "many"})


def test_messages_and_records_of_a_thread_are_in_one_order() -> None:
    log = InMemorySessionLog()
    sink = SessionAuditSink(log, KEY)

    sink.record(AgentEvent("user_message", payload={"message": "hi"}))
    sink.record_memory_recall("semantic", "u", 0)
    sink.record(AgentEvent("assistant_message", payload={"message": "hello"}))

    kinds = [one.event.event_type for one in loaded(log)]
    assert kinds == ["user_message", "memory_recall", "assistant_message"]


# Nothing lost, order kept


def in_program(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.audit_program", *arguments]
    root = ROOT
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)


def steps_by_thread(log: Any, keys: int) -> dict[int, list[int]]:
    """Return, for each thread of the program, the steps that the log has of it, in its order."""
    found: dict[int, list[int]] = {}
    for number in range(keys):
        logged = loaded(log, ThreadKey("acme", str(number)))
        assert [one.ordinal for one in logged] == list(range(1, len(logged) + 1))
        for _, event in logged:
            assert int(event.payload["tier"]) % keys == number
            found.setdefault(int(event.payload["tier"]), []).append(event.payload["hits"])
    return found


@pytest.mark.parametrize("ending", ["exit", "wait"])
@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_64_threads_lose_nothing_and_keep_their_order_however_the_program_ends(
    backend: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    records = 1000 if backend == "journal" else 300
    program = in_program(backend, str(path), "64", str(records), "16", ending)

    assert program.stdout is not None
    assert program.stdout.readline() == "begin\n"
    said = program.stdout.readline().split()
    if ending == "wait":
        program.send_signal(signal.SIGTERM)
    code = program.wait(SECONDS)
    program.stdout.close()

    assert said[0] == "done"
    # With the journal, nothing is in a queue when the calls have returned, and no handler is needed.
    assert code == {"exit": 0, "wait": -15 if backend == "journal" else 143}[ending]
    assert said[1:] == [str(64 * records), "0", "0", "0"] or backend == "sqlite"
    log: Any = JournalSessionLog(path) if backend == "journal" else SQLiteSessionLog(path)
    assert steps_by_thread(log, 16) == {number: list(range(records)) for number in range(64)}
    log.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_what_each_thread_recorded_so_far(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = in_program("journal", str(tmp_path), "16", "100000", "4", "exit")
    assert program.stdout is not None
    assert program.stdout.readline() == "begin\n"
    log = JournalSessionLog(tmp_path)
    deadline = time.monotonic() + SECONDS
    while len(loaded(log, ThreadKey("acme", "3"))) < 50:
        assert time.monotonic() < deadline

    program.send_signal(number)
    assert program.wait(SECONDS) == -number
    program.stdout.close()

    found = steps_by_thread(log, 4)
    assert found
    for steps in found.values():
        assert steps == list(range(len(steps)))


def test_what_is_queued_when_the_last_sink_goes_is_appended_all_the_same() -> None:
    log = SlowLog()
    sink = SessionAuditSink(log, KEY)
    record_all(sink)
    del sink

    log.let.set()

    deadline = time.monotonic() + SECONDS
    while len(loaded(log)) < 7:
        assert time.monotonic() < deadline
    assert [one.event.event_type for one in loaded(log)] == [kind for kind, _ in ALL]


def test_a_forked_child_records_what_is_its_own_and_not_what_the_parent_has_queued() -> None:
    log = SlowLog()
    sink = SessionAuditSink(log, KEY)
    record_all(sink)

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log.let.set()
            sink.record_resumed("child")
            done = sink.flush(SECONDS)
            code = 0 if done and sink.counts() == (1, 0, 0, 0) and len(loaded(log)) == 1 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    log.let.set()

    assert os.waitstatus_to_exitcode(status) == 0
    assert sink.flush(SECONDS)
    assert [one.event.event_type for one in loaded(log)] == [kind for kind, _ in ALL]


# Never blocks, never raises


def test_a_log_that_hangs_blocks_nobody_and_what_does_not_fit_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SlowLog()
    sink = SessionAuditSink(log, KEY, max_pending=100)

    with caplog.at_level(logging.WARNING, "wakelog"):
        for step in range(150):
            sink.record_memory_recall("semantic", "u", step)
        assert not sink.flush(0)
        assert sink.counts().dropped == 50
        log.let.set()
        assert sink.flush(SECONDS)

    # What was recorded first is kept, so that the log has no holes before its end.
    assert [one.event.payload["hits"] for one in loaded(log)] == list(range(100))
    assert sink.counts()[::2] == (100, 0)
    lost = [record for record in caplog.records if "records lost so far" in record.message]
    assert len(lost) == 1


def test_a_process_that_was_stopped_in_the_middle_of_an_append_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakelog.audit._channel._TURN_SECONDS", 0.01)
    log = JournalSessionLog(tmp_path)
    sink = SessionAuditSink(log, KEY)
    sink.record_memory_recall("semantic", "u", 0)
    waited: list[ThreadKey] = []
    append_now = log.append_now

    def counted(key: ThreadKey, *rest: Any) -> int:
        waited.append(key)
        return append_now(key, *rest)

    monkeypatch.setattr(log, "append_now", counted)
    # Another process's lock, as this one's on a description of its own.
    with (log.folder_of(KEY) / "lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for step in range(1, 50):
            sink.record_memory_recall("semantic", "u", step)
        other_thread = sink.with_thread_key(ThreadKey("acme", "t-2"))
        other_thread.record_memory_recall("semantic", "u", 0)
        # The first has waited a moment, and the others have not.
        assert waited.count(KEY) == 1
        assert len(loaded(log)) == 1
        assert sink.counts().pending == 49
        assert len(loaded(log, ThreadKey("acme", "t-2"))) == 1
        fcntl.flock(other, fcntl.LOCK_UN)

    assert sink.flush(SECONDS)
    sink.record_memory_recall("semantic", "u", 50)

    assert [one.event.payload["hits"] for one in loaded(log)] == list(range(51))


def test_a_log_that_fails_is_one_warning_a_burst_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = SlowLog()
    log.let.set()
    sink = SessionAuditSink(log, KEY)
    log.broken = SessionLogError("the database is on fire")

    with caplog.at_level(logging.WARNING, "wakelog"):
        for _ in range(5):
            record_all(sink)
            assert sink.flush(SECONDS)
        assert sink.counts() == (0, 0, 35, 0)
        log.broken = None
        record_all(sink)
        assert sink.flush(SECONDS)

    assert len(loaded(log)) == 7
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 2
    assert "on fire" in warnings[0]
    assert "it works again, after 35 lost records" in warnings[1]


def test_a_directory_that_cannot_be_written_is_not_raised_into_the_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    sink = SessionAuditSink(JournalSessionLog(tmp_path / "file"), KEY)

    with caplog.at_level(logging.WARNING, "wakelog"):
        record_all(sink)

    assert sink.counts() == (0, 0, 7, 0)
    assert len(caplog.records) == 1


def test_without_an_event_loop_records_are_counted_as_failed_and_recording_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = SlowLog()
    log.let.set()
    sink = SessionAuditSink(log, KEY)

    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("asyncio.new_event_loop", refuse)
        sink.record_memory_recall("semantic", "u", 0)
        assert sink.flush(SECONDS)
    assert sink.counts() == (0, 0, 1, 0)

    sink.record_memory_recall("semantic", "u", 1)

    assert sink.flush(SECONDS)
    assert sink.counts() == (1, 0, 1, 0)


def test_garbage_is_counted_and_not_raised() -> None:
    sink = SessionAuditSink(InMemorySessionLog(), KEY)
    garbage: Any = object()

    sink.record_usage_limit_exceeded(garbage)
    sink.record(garbage)
    sink.record_memory_recall(garbage, garbage, garbage)

    assert sink.counts() == (1, 0, 2, 0)


def test_one_event_that_is_too_large_costs_one_event(caplog: pytest.LogCaptureFixture) -> None:
    log = SlowLog()
    sink = SessionAuditSink(log, KEY)

    with caplog.at_level(logging.WARNING, "wakelog"):
        sink.record_memory_recall("semantic", "u", 1)
        sink.record(AgentEvent("custom", payload={"text": "x" * (17 * 1024 * 1024)}))
        sink.record_memory_recall("semantic", "u", 2)
        log.let.set()
        assert sink.flush(SECONDS)

    assert [one.event.payload["hits"] for one in loaded(log)] == [1, 2]
    assert sink.counts() == (2, 0, 1, 0)


def test_a_signal_handler_may_record_whatever_it_has_interrupted(tmp_path: Path) -> None:
    log = JournalSessionLog(tmp_path)
    sink = SessionAuditSink(log, KEY)
    seen: list[int] = []

    def handler(*_: object) -> None:
        sink.record_resumed(str(len(seen)))
        seen.append(1)
        if len(seen) < 100:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)

    before = signal.signal(signal.SIGVTALRM, handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
    try:
        deadline = time.monotonic() + SECONDS
        step = 0
        while len(seen) < 100 and time.monotonic() < deadline:
            sink.record_memory_recall("semantic", "u", step)
            step += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

    assert sink.flush(SECONDS)
    events = [one.event for one in loaded(log)]
    mine = [e.payload["hits"] for e in events if e.event_type == "memory_recall"]
    theirs = [e.payload["from_checkpoint"] for e in events if e.event_type == "resumed"]
    assert mine == list(range(step))
    assert theirs == [str(number) for number in range(len(seen))]


def test_sinks_over_one_log_share_a_queue_and_its_size() -> None:
    log = SlowLog()
    first = SessionAuditSink(log, KEY, max_pending=10)
    SessionAuditSink(log, KEY, max_pending=10)
    second = SessionAuditSink(log, KEY)

    with pytest.raises(ConfigurationError, match="max_pending=20"):
        SessionAuditSink(log, KEY, max_pending=20)
    with pytest.raises(ConfigurationError, match="at least one"):
        SessionAuditSink(SlowLog(), KEY, max_pending=0)
    for step in range(4):
        (first if step % 2 else second).record_memory_recall("semantic", "u", step)
    log.let.set()

    assert first.flush(SECONDS)
    assert [one.event.payload["hits"] for one in loaded(log)] == [0, 1, 2, 3]
    assert first.counts() == second.counts()


# The other sinks


def test_the_logger_gets_every_record_as_an_event_of_its_type() -> None:
    memory = MemorySink()
    sink = LoggerAuditSink(AgentLogger("planner", sink=memory))

    with wakelog.bound(session_id="t-1", tenant_id="acme"):
        record_all(sink)

    assert [(event.event_type, event.payload) for event in memory.events] == ALL
    assert {event.session_id for event in memory.events} == {"t-1"}
    assert {event.agent_name for event in memory.events} == {"planner"}
    assert sink.failed == 0


def test_a_logger_that_fails_is_not_felt_by_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def write(self, event: AgentEvent) -> None:
            raise OSError("no space")

    sink = LoggerAuditSink(AgentLogger("planner", sink=Broken()))

    with caplog.at_level(logging.WARNING, "wakelog"):
        record_all(sink)

    assert sink.failed == 7
    assert len(caplog.records) == 1


class Foreign:
    """A sink of somebody else's, which has the six methods and nothing more."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def record_sub_agent_invoked(self, agent_id: str, sub_thread_id: str) -> None:
        self.calls.append(("sub_agent_invoked", agent_id, sub_thread_id))

    def record_agent_handoff(self, from_: str | None, to: str) -> None:
        self.calls.append(("agent_handoff", from_, to))

    def record_resumed(self, from_checkpoint: str) -> None:
        self.calls.append(("resumed", from_checkpoint))

    def record_memory_recall(self, tier: str, namespace_key: str, hits: int) -> None:
        raise RuntimeError("broken")

    def record_usage_limit_exceeded(self, breach: UsageLimitBreach) -> None:
        self.calls.append(("usage_limit_exceeded", breach))

    def record_context_compacted(self, dropped_chars: int, retained_chars: int) -> None:
        self.calls.append(("context_compacted", dropped_chars, retained_chars))


def test_a_fan_out_gives_every_sink_the_same_event_and_a_broken_one_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, memory, foreign = InMemorySessionLog(), MemorySink(), Foreign()
    sink = FanOutAuditSink(
        foreign, LoggerAuditSink(AgentLogger(sink=memory)), SessionAuditSink(log, KEY)
    )

    with caplog.at_level(logging.WARNING, "wakelog"):
        record_all(sink)
        sink.record(AgentEvent("checkpoint", payload={"checkpoint_id": "c-1"}))

    kept = [one.event for one in loaded(log)]
    assert [event.event_type for event in kept] == [kind for kind, _ in ALL] + ["checkpoint"]
    assert [event.event_id for event in memory.events] == [event.event_id for event in kept]
    assert {event.session_id for event in memory.events[:-1]} == {"t-1"}
    assert foreign.calls == [
        ("sub_agent_invoked", "helper", "t-2"),
        ("agent_handoff", None, "planner"),
        ("agent_handoff", "planner", "booker"),
        ("resumed", ""),
        ("usage_limit_exceeded", BREACH),
        ("context_compacted", 700, 300),
    ]
    assert len(caplog.records) == 1


def test_code_without_a_reference_records_into_the_current_sink() -> None:
    log = InMemorySessionLog()
    record_all(current_audit_sink())  # there is none, and nobody has to ask

    async def tool() -> None:
        current_audit_sink().record_memory_recall("semantic", "u", 1)
        await asyncio.to_thread(lambda: current_audit_sink().record_resumed("c-1"))

    with using_audit_sink(SessionAuditSink(log, KEY)) as outer:
        with using_audit_sink(SessionAuditSink(log, ThreadKey("acme", "t-2"))):
            asyncio.run(tool())
        assert current_audit_sink() is outer
        current_audit_sink().record_resumed("c-2")

    assert len(loaded(log, ThreadKey("acme", "t-2"))) == 2
    assert [one.event.payload["from_checkpoint"] for one in loaded(log)] == ["c-2"]
    assert isinstance(current_audit_sink(), AuditSink)
