"""What operators see of the audit channel: by where records go, and never by whose they are."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.collector import Collector
from tests.support.figures import Meter, Scrape
from tests.support.programs import PATIENTLY
from wakelog import AgentEvent, AgentLogger, JournalError, MemorySink
from wakelog.audit import (
    InMemorySessionLog,
    JournalSessionLog,
    LoggerAuditSink,
    SessionAuditSink,
    SQLiteSessionLog,
    ThreadKey,
)
from wakelog.audit import (
    _metric_table as t,
)
from wakelog.audit._metrics import MEASURE_EACH, _collect, _metrics
from wakelog.events import semconv as s
from wakelog.telemetry.instruments import Instruments

KEY = ThreadKey("acme-tenant", "thread-17")


@pytest.fixture
def meter() -> Any:
    """A meter that observes audit figures, which begin at zero."""
    for figures in _metrics.values():
        figures.reset()
    meter = Meter()
    Instruments(meter.provider, t.TABLE, _collect)
    return meter


def record(sink: Any, count: int) -> None:
    for number in range(count):
        sink.emit("user_message", {"message": f"number {number}"})


@pytest.mark.parametrize("backend", ["journal", "sqlite", "memory"])
def test_what_is_appended_is_counted_by_where_it_goes(
    tmp_path: Path, meter: Meter, backend: str
) -> None:
    log: Any = {
        "journal": lambda: JournalSessionLog(tmp_path / "sessions"),
        "sqlite": lambda: SQLiteSessionLog(tmp_path / "sessions.db"),
        "memory": InMemorySessionLog,
    }[backend]()
    sink = SessionAuditSink(log, KEY, max_pending=77)
    other = sink.with_thread_key(ThreadKey("another", "thread"))
    record(sink, MEASURE_EACH)
    record(other, 4)
    assert sink.flush(60)

    scrape = meter.read()
    assert scrape(t.APPENDED, backend=backend) == MEASURE_EACH + 4
    assert scrape(t.FAILED, backend=backend) == 0
    assert scrape(t.QUEUE_SIZE, backend=backend) == 0
    assert scrape(t.QUEUE_CAPACITY, backend=backend) == 77
    if backend == "sqlite":
        assert scrape(t.DURATION, backend=backend) >= 1
    else:
        assert scrape(t.DURATION, backend=backend) == 2


class Stalling:
    """A session log that is not ready, and then refuses."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.ready = threading.Event()
        self._error = error

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        await asyncio.to_thread(self.ready.wait, 60)
        raise self._error()


@pytest.mark.parametrize(
    "error, reason",
    [
        (lambda: JournalError("write", "x", "no space"), "journal"),
        (lambda: OSError("broken"), "other"),
    ],
)
def test_what_waits_and_what_is_lost_is_counted_by_its_reason(
    meter: Meter, error: Callable[[], Exception], reason: str
) -> None:
    log: Any = Stalling(error)
    sink = SessionAuditSink(log, KEY, max_pending=5)
    record(sink, 8)
    scrape = meter.read()
    assert scrape(t.QUEUE_SIZE, backend="other") == 5
    assert scrape(t.QUEUE_CAPACITY, backend="other") == 5
    assert scrape(t.QUEUE_DROPPED, backend="other") == 3

    log.ready.set()
    assert sink.flush(60)

    scrape = meter.read()
    assert scrape(t.FAILED, reason=reason) == scrape(t.FAILED) == 5
    assert scrape(t.QUEUE_SIZE) == 0
    assert scrape(t.APPENDED, backend="other") == 0
    assert sink.counts() == (0, 0, 5, 3)


def test_figures_of_a_sink_that_is_gone_stay(meter: Meter) -> None:
    for _ in range(3):
        record(SessionAuditSink(InMemorySessionLog(), KEY), 2)

    scrape = meter.read()
    assert scrape(t.APPENDED, backend="memory") == 6
    assert scrape(t.QUEUE_CAPACITY, backend="memory") == 0


def test_a_logger_takes_records_or_not(meter: Meter) -> None:
    sink = LoggerAuditSink(AgentLogger("a", sink=MemorySink()))
    record(sink, 3)
    sink.emit("no such type", {})

    scrape = meter.read()
    assert scrape(t.APPENDED, backend="logger") == 3
    assert scrape(t.FAILED, backend="logger", reason="other") == 1


def test_every_figure_is_in_the_table_and_says_nothing_of_tenants_and_threads(
    tmp_path: Path, meter: Meter
) -> None:
    record(SessionAuditSink(JournalSessionLog(tmp_path), KEY), 1)
    record(LoggerAuditSink(AgentLogger("a", sink=MemorySink())), 1)

    scrape: Scrape = meter.read()
    assert set(scrape.points) == {one.name for one in t.TABLE}
    for one in t.TABLE:
        for point in scrape.points[one.name]:
            for name, value in point.attributes.items():
                assert value in one.attributes[name], (one.name, name, value)
    assert not {s.TENANT_ID, s.CONVERSATION_ID} & {n for one in t.TABLE for n in one.attributes}


def test_a_forked_child_counts_its_own_from_zero(tmp_path: Path, meter: Meter) -> None:
    sink = SessionAuditSink(JournalSessionLog(tmp_path), KEY)
    record(sink, 5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = meter.read()(t.APPENDED, backend="journal")
            record(sink, 2)
            os.write(write, json.dumps([before, meter.read()(t.APPENDED)]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert json.loads(pipe.read()) == [0, 2]
    os.waitpid(child, 0)
    assert meter.read()(t.APPENDED, backend="journal") == 5


GLOBAL = """
import sys; sys.path.insert(0, sys.argv[2])
from opentelemetry import metrics
import wakelog
from wakelog.audit import InMemorySessionLog, SessionAuditSink, ThreadKey
from tests.support.figures import Meter

def record():
    sink = SessionAuditSink(InMemorySessionLog(), ThreadKey("a", "b"))
    sink.record_resumed("")
    return sink

meter, given = Meter(), Meter()
first = record() if "early" in sys.argv else None
if "given" in sys.argv:
    wakelog.configure("a", directory=sys.argv[1], meter_provider=given.provider)
    metrics.set_meter_provider(meter.provider)
else:
    metrics.set_meter_provider(meter.provider)
    wakelog.configure("a", directory=sys.argv[1], meter_provider=meter.provider)
second = record()
seen = given if "given" in sys.argv else meter
expected = 2 if "early" in sys.argv else 1
found = seen.read()
assert found("wakelog.audit.events.appended") == expected, found.points
assert len(found.points["wakelog.audit.events.appended"]) == 1
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("whose", ["given", "global"])
def test_they_are_on_the_provider_of_the_program_whenever_it_comes(
    tmp_path: Path, when: str, whose: str
) -> None:
    command = [sys.executable, "-c", GLOBAL, str(tmp_path), str(ROOT), when, whose]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


CONFIGURED = (
    PATIENTLY
    + """
import asyncio, sys, wakelog
from wakelog.audit import SessionAuditSink, SQLiteSessionLog, ThreadKey
class Slow(SQLiteSessionLog):
    async def append(self, key, events):
        await asyncio.sleep(0.5)
        return await super().append(key, events)
sink = SessionAuditSink(Slow(sys.argv[1] + ".db"), ThreadKey("a", "b"))
log = wakelog.configure("a", directory=sys.argv[1])  # what ends last began first, as a rule
log.decision("yes")
for _ in range(100):
    sink.record_resumed("")
"""
)


def test_the_last_figures_that_arrive_are_those_after_the_queue_has_been_emptied(
    tmp_path: Path, collector: Collector
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED, str(tmp_path / "j")],
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        },
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    last = collector.metrics()[-1]
    assert last(t.APPENDED, backend="sqlite") == 100
    assert last(t.QUEUE_SIZE, backend="sqlite") == 0
