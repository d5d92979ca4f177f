"""Spans at each crash point: of their start, of their end, and of the ends that the next process gives them."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.conftest import ROOT
from tests.support import span_program
from tests.support.attack import ATTACKING, SEED, times
from tests.support.collector import Collector
from tests.support.faults import with_calls, with_fault
from tests.support.guarantees import (
    CODES,
    PROPERTY,
    SPANS_ERROR,
    SPANS_KILLED,
    SPANS_POWER,
    Row,
    is_written,
)
from tests.support.power import Power, put
from tests.support.waiting import until
from wakelog.errors import JournalError
from wakelog.journal import (
    Journal,
    Space,
    _reserve,
    are_ended,
    books,
    folders,
    open_spans,
    read,
    signal_of,
)
from wakelog.journal._quota import Quota
from wakelog.otel import DurableSpanProcessor, _durable
from wakelog.otel._content import ContentPolicy
from wakelog.otel._unfinished import MissingEnds, is_unfinished
from wakelog.runtime._filesystem import FileSystem

LEVELS = ["os_buffered", "fsync"]
# Each with the durability that CI tries.
OPERATIONS = {
    "open": "fsync",
    "write": "os_buffered",
    "fdatasync": "fsync",
    "fsync": "fsync",
    "mkdir": "os_buffered",
    "rename": "fsync",
}
# In CI one point of so many is tried.
STEPS = range(9, 15)
SPANS = 5
# What is tried on the disks needs no disk of its own.
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)


class Program:
    """The program of the tests, which plays each part in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "said"
        self._process = subprocess.Popen(
            [sys.executable, "-m", span_program.__name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, directory: Path, role: str, fault: str = "") -> tuple[bool, list[list[str]]]:
        """Play a part, and return whether it was killed and the words of each line that it said."""
        self._output.unlink(missing_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        part = [str(directory), role, fault, str(self._output)]
        self._process.stdin.write(json.dumps(part) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        assert code in ("0", str(-signal.SIGKILL)), self.end()
        return code != "0", [line.split() for line in self._output.read_text().splitlines()]

    def end(self) -> str:
        """End it, and return its errors."""
        return self._process.communicate(timeout=60)[1]


def ids(said: list[list[str]], word: str) -> list[str]:
    return [words[1] for words in said if words[0] == word]


def check(program: Program, directory: Path, level: str, fault: str) -> tuple[int, Row]:
    """Kill the program at one point, and the one that recovers; recover, and compare.

    Returns:
        How many of the two were killed, and what came of it.
    """
    first_killed, first = program.run(directory, level, fault)
    second_killed, second = program.run(directory, "recover", fault)
    _, third = program.run(directory, "recover")

    tried, started, ended = (ids(first, word) for word in ("tried", "started", "ended"))
    in_doubt = set(ids(first, "ending")) - set(ended)
    sent = Counter(ids(second + third, "sent"))
    outcomes = {words[1]: words[2] for words in second + third if words[0] == "sent"}
    assert set(started) <= sent.keys() <= set(tried), fault
    for span_id, outcome in outcomes.items():
        if span_id not in in_doubt:
            assert outcome == ("known" if span_id in ended else "unknown"), fault
    # Missing ends are recorded once, however often somebody who was recording them was killed.
    in_journal = [entry.record.span_id for entry in read(directory, signal="spans")]
    assert sorted(map(str, in_journal)) == sorted(sent), fault
    for kept in books(directory):
        assert kept.pending == kept.corrupt == 0, fault
        assert kept.delivered == kept.accepted, fault
    assert all(are_ended(folder) for folder in folders(directory) if first_killed), fault
    row = Row(
        SPANS_KILLED,
        level,
        1,
        len(tried),
        len(started),
        len(set(started) - sent.keys()),
        sum(sent.values()) - len(sent),
    )
    return first_killed + second_killed, row


@pytest.mark.attack
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_before_and_after_every_system_call_loses_no_span_that_was_started(
    tmp_path: Path,
    operation: str,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
) -> None:
    every = ATTACKING or is_written(pytestconfig)
    step = 1 if every else random.Random(f"{SEED}{operation}").choice(STEPS)
    program = Program(tmp_path)
    killed = 0
    for level in LEVELS if every else [OPERATIONS[operation]]:
        for when in ("before", "after"):
            for point in itertools.count(1, step):
                fault = f"{when}:{operation}:{point}"
                kills, row = check(program, tmp_path / f"{level}:{fault}", level, fault)
                if not kills:
                    break
                killed += kills
                record_property(PROPERTY, row)
    assert "Traceback" not in program.end()
    assert killed


@pytest.mark.attack
@pytest.mark.parametrize("operation", ["open", "write", "fdatasync", "rename"])
def test_an_error_of_any_system_call_is_counted_and_never_an_acknowledgement(
    tmp_path: Path,
    operation: str,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = ATTACKING or is_written(pytestconfig)
    for code in CODES if every else CODES[:1]:
        for count in itertools.count(1, 1 if every else 5):
            directory = tmp_path / f"{code}-{count}"
            calls: list[object] = []
            fs = with_fault(FileSystem(), f"error:{operation}:{count}:{code}")
            fs = with_calls(fs, **{operation: counted(getattr(fs, operation), calls)})
            monkeypatch.setattr(_durable, "Journal", partial(Journal, fs=fs))
            accepted = refused_and_accepted(directory)
            if accepted is None:
                continue  # the program was told at once
            ended = {str(entry.record.span_id) for entry in read(directory, signal="spans")}
            [folder] = folders(directory)
            left = {str(one.record.span_id) for one in open_spans(folder).starts.values()}
            assert accepted["end"] <= ended, code
            assert accepted["start"] <= ended | left, code
            assert all(one.corrupt == 0 for one in books(directory)), code
            if len(calls) < count:
                assert count > 1
                break  # it has been at each call
            kept = accepted["start"] & (ended | left)
            lost = len(accepted["start"] - kept) + len(accepted["end"] - ended)
            both = len(accepted["start"]) + len(accepted["end"])
            record_property(PROPERTY, Row(SPANS_ERROR, "fsync", 1, 2 * SPANS, both, lost, 0))


def refused_and_accepted(directory: Path) -> dict[str, set[str]] | None:
    """Record spans, and return whose starts and ends were accepted; None when nothing could begin.

    What is refused while a start is recorded may be another one, which is repeated in a new segment.
    """
    try:
        processor = DurableSpanProcessor(
            None,
            directory=directory,
            pipeline="p",
            durability="fsync",
            segment_bytes=900,
            space=Space(quota_policy="refuse"),  # a full disk evicts nothing
        )
    except JournalError:
        return None
    provider = TracerProvider(resource=span_program.RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    accepted: dict[str, set[str]] = {"start": set(), "end": set()}
    for number in range(SPANS):
        before = processor.refused.total()
        span = tracer.start_span(f"span {number}", attributes={"a": "x" * 100})
        span_id = f"{span.get_span_context().span_id:016x}"
        if processor.refused.total() == before:
            accepted["start"].add(span_id)
        before = processor.refused.total()
        if number != 1:
            span.end()
            if processor.refused.total() == before:
                accepted["end"].add(span_id)
    assert len(accepted["start"]) >= SPANS - 2, "one call has failed, and not the journal"
    processor.shutdown()
    return accepted


def counted(call: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return call(*arguments, **named)

    return counting


@pytest.mark.attack
@pytest.mark.parametrize("segment_bytes", [1 << 20, 900])
def test_a_power_failure_costs_no_span_that_fsync_has_acknowledged(
    tmp_path: Path,
    segment_bytes: int,
    record_property: Callable[[str, object], None],
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_reserve, "keep", lambda *_, **__: True)
    monkeypatch.setattr(Quota, "_say_settings", lambda _: None)
    monkeypatch.setattr(Quota, "_clean_soon", lambda _: None)
    base = tmp_path / "before"
    base.mkdir()
    Journal(base / "journal").close()
    power = Power(base)
    with monkeypatch.context() as patch:
        patch.setattr(_durable, "Journal", partial(Journal, fs=power.fs, sync_interval=3600))
        record_under(power, base / "journal", segment_bytes)

    faults = tried = acknowledged = 0
    limit = 10 if ATTACKING or is_written(pytestconfig) else 1
    for said, disk in power.failures(seed=1, limit=limit):
        where = put(disk, tmp_path / str(faults))
        check_disk(where / "journal", said)
        shutil.rmtree(where)
        faults += 1
        tried += len(said["tried"])
        acknowledged += len(said["fsync"])
    assert faults > 20
    record_property(PROPERTY, Row(SPANS_POWER, "fsync", faults, tried, acknowledged, 0, 0))


def record_under(power: Power, root: Path, segment_bytes: int) -> None:
    """Record spans, and note what is acknowledged between which operations."""
    processor = DurableSpanProcessor(
        None, directory=root, pipeline="p", durability="fsync", segment_bytes=segment_bytes
    )
    provider = TracerProvider(resource=span_program.RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    outer = None
    for number in range(3):
        power.say("tried", f"start {number}")
        span = tracer.start_span(f"span {number}")
        power.say("fsync", f"start {span.get_span_context().span_id:016x}")
        if number == 0:
            outer = span
        else:
            power.say("tried", f"end {number}")
            span.end()
            power.say("fsync", f"end {span.get_span_context().span_id:016x}")
    assert outer is not None
    assert processor.refused == {}


def check_disk(root: Path, said: dict[str, list[str]]) -> None:
    """Give what is on a disk its missing ends, and compare."""
    started = {word.split()[1] for word in said["fsync"] if word.startswith("start")}
    ended = {word.split()[1] for word in said["fsync"] if word.startswith("end")}
    if not root.exists():
        assert not started
        return
    for _ in range(2):  # the second one finds nothing to do
        journal = Journal(root, pipeline="p", signal="spans", fs=UNSYNCED)
        ending = MissingEnds(
            journal, outcome="error", policy=ContentPolicy(), max_line_bytes=1 << 20
        )
        for folder in ending.after(journal.orphans(None, is_unfinished)):
            folder.release()
        journal.close()
    found = [entry.record for entry in read(root, signal="spans")]
    assert len({record.id for record in found}) == len(found)
    outcomes = {r.span_id: r.attributes.get("wakelog.span.outcome") for r in found}
    assert started <= outcomes.keys()
    assert all(outcomes[span_id] is None for span_id in ended)


RECORDING = """
import logging, os, sys
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor

directory, endpoint, seconds = sys.argv[1:]
resource = Resource({"service.name": "shop"})
settings = {"directory": directory, "resource": resource, "schedule_delay_millis": 20}
spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
spans.add_span_processor(DurableSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces"), **settings))
logs.add_log_record_processor(
    DurableLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs"), **settings)
)
tracer, logger = spans.get_tracer("t"), logs.get_logger("t")
if seconds == "until asked":
    sys.stdin.read()
    logs.shutdown(), spans.shutdown()
    sys.exit()
number = 0
while True:
    with tracer.start_as_current_span("outer"):
        with tracer.start_as_current_span("inner") as inner:
            os.write(1, b"span %016x\\n" % inner.get_span_context().span_id)
            number += 1
            logger.emit(LogRecord(body=number, attributes={"log.record.uid": f"{os.getpid()}-{number}"}))
            os.write(1, f"log {os.getpid()}-{number}\\n".encode())
"""


@pytest.mark.attack
@pytest.mark.timeout(170)
def test_the_books_of_logs_and_of_spans_balance_after_twenty_kills(
    tmp_path: Path, collector: Collector
) -> None:
    chance = random.Random(SEED)
    directory = tmp_path / "journal"
    command = [sys.executable, "-c", RECORDING, str(directory), collector.http_endpoint]
    said: list[list[str]] = []
    for _ in range(times(20)):
        with subprocess.Popen([*command, ""], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 400))]
            process.kill()
            lines += process.stdout.read().split(b"\n")[:-1]
        said += [line.decode().split() for line in lines]

    recorded = {kind: set(ids(said, word)) for kind, word in (("spans", "span"), ("logs", "log"))}

    def arrived() -> dict[str, set[str]]:
        return {
            "spans": {span.span_id for span in collector.spans()},
            "logs": {str(record.uid) for record in collector.log_records()},
        }

    with subprocess.Popen([*command, "until asked"], stdin=subprocess.PIPE) as after:
        until(
            lambda: (
                all(wanted <= arrived()[kind] for kind, wanted in recorded.items())
                and not any(one.pending for one in books(directory))
            ),
            "delivery",
        )
        after.communicate(timeout=60)

    for kind, wanted in recorded.items():
        in_journal = {
            str(entry.record.span_id if kind == "spans" else entry.record.id)
            for entry in read(directory, signal=kind)
        }
        assert wanted <= in_journal == arrived()[kind], f"{kind}, seed {SEED}"
        kept = [one for one in books(directory) if signal_of(directory / one.writer) == kind]
        accepted = sum(one.accepted for one in kept)
        assert accepted == sum(one.delivered for one in kept) == len(in_journal)
        assert all(one.pending == one.corrupt == one.evicted == 0 for one in kept)
