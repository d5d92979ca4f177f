"""The main job: real agent runs, through the journal, into a real Collector."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.attack import SEED, times
from tests.support.collector import Collector
from tests.support.otlp import ExportedLog, ExportedSpan
from wakelog.events import semconv as s
from wakelog.journal import books, read, signal_of

EXAMPLES = ROOT / "examples"
PROTOCOLS = ["http/protobuf", "grpc"]
ADDED = {s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ}


def environment(collector: Collector, protocol: str, **more: str) -> dict[str, str]:
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    return {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def run(program: Path | str, *arguments: object, env: dict[str, str]) -> str:
    command = ["-c", program] if isinstance(program, str) else [str(program)]
    done = subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected_events(runs: list[dict[str, Any]]) -> int:
    """Count by hand what the example should record: see its text."""
    roles = Counter(message["role"] for run in runs for message in run["messages"])
    calls = sum(len(m.get("tool_calls") or []) for run in runs for m in run["messages"])
    return 2 * len(runs) + roles["system"] + roles["user"] + 2 * roles["assistant"] + 2 * calls


def by_uid(records: Iterable[ExportedLog]) -> dict[str, ExportedLog]:
    return {str(record.uid): record for record in records}


@pytest.mark.parametrize("content", ["EVENT_ONLY", None])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recorded_runs_arrive_whole_and_only_as_they_are_in_the_journal(
    collector: Collector,
    trajectories: list[dict[str, Any]],
    tmp_path: Path,
    protocol: str,
    content: str | None,
) -> None:
    runs = trajectories if protocol == "grpc" or content else trajectories[:10]
    source = tmp_path / "runs.json"
    source.write_text(json.dumps(runs))
    policy = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": content} if content else {}
    journal = tmp_path / "journal"

    output = run(
        EXAMPLES / "record_trajectories.py",
        source,
        "--directory",
        journal,
        env=environment(collector, protocol, **policy),
    )

    count = expected_events(runs)
    assert json.loads(output) == {"runs": len(runs), "events": count, "delivered": True}
    received = collector.wait_for_logs(count)
    assert len(received) == len(by_uid(received)) == count
    entries = {entry.record.id: entry for entry in read(journal)}
    assert by_uid(received).keys() == entries.keys()
    for uid, log in by_uid(received).items():
        record, resource = entries[uid].record, entries[uid].resource
        kept = {k: v for k, v in record.attributes.items() if content or k not in s.CONTENT}
        assert {k: v for k, v in log.attributes.items() if k not in ADDED} == kept
        assert log.attributes[s.SEQ] == record.seq
        assert log.time_unix_nano == record.timestamp
        assert (log.event_name, log.severity_number) == (record.event_name, record.severity_number)
        assert (log.trace_id, log.span_id) == (record.trace_id, record.span_id)
        assert (record.body, log.severity_text) == (None, record.severity_text)
        assert str(log.body).startswith(log.event_name.removeprefix(s.EVENT_PREFIX) + " ")
        assert log.origin.resource == resource.attributes
        assert log.origin.scope_name == s.SCOPE_NAME
    check_spans(received, collector.spans(), runs)


def check_spans(
    received: list[ExportedLog], spans: list[ExportedSpan], runs: list[dict[str, Any]]
) -> None:
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    assert {(log.trace_id, log.span_id) for log in received} == by_id.keys()
    roots = [span for span in spans if not span.parent_span_id]
    assert [span.name for span in roots] == ["invoke_agent airline-agent"] * len(runs)
    assert [span.attributes[s.CONVERSATION_ID] for span in roots] == [run["run"] for run in runs]
    for span in spans:
        if span.parent_span_id:
            parent = by_id[span.trace_id, span.parent_span_id]
            assert parent.name == "invoke_agent airline-agent"
            assert span.name.split()[0] in ("chat", "execute_tool")
    # Every event is on its span too, without content.
    on_spans = [event for span in spans for event in span.events]
    assert Counter(event.name for event in on_spans) == Counter(log.event_name for log in received)
    assert not any(event.attributes.keys() & s.CONTENT for event in on_spans)


# Starts a program for each line that it reads, and says "ended" once that has been killed. A program says its id, and
# then what it has recorded. Programs are forked after the imports, which take as long as what they record.
REPLAY_UNTIL_KILLED = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import wakelog.otel
import opentelemetry.exporter.otlp.proto.grpc._log_exporter
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter
import opentelemetry.exporter.otlp.proto.http._log_exporter
import opentelemetry.exporter.otlp.proto.http.trace_exporter
from record_trajectories import replay
assert len(os.listdir("/proc/self/task")) == 1
while os.read(0, 1):
    if not (child := os.fork()):
        break
    os.waitpid(child, 0)
    os.write(1, b"ended\\n")
else:
    sys.exit()
os.write(1, b"%d\\n" % os.getpid())
log = wakelog.configure("airline-agent", service_name="killed", directory=sys.argv[3])
write = log.sink.write
def acknowledged(event):
    write(event)
    os.write(1, event.event_id.encode() + b"\\n")
log.sink.write = acknowledged
runs = json.load(open(sys.argv[2]))
while True:
    for run in runs:
        replay(log, run)
"""


@pytest.mark.attack
@pytest.mark.timeout(170)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_accepted_is_missing_after_twenty_kills_at_random_moments(
    collector: Collector,
    trajectories: list[dict[str, Any]],
    tmp_path: Path,
    protocol: str,
    record_property: Any,
) -> None:
    seed = SEED
    choose = random.Random(seed)
    source = tmp_path / "runs.json"
    source.write_text(json.dumps(trajectories[:5]))
    journal = tmp_path / "journal"
    env = environment(collector, protocol, OTEL_BLRP_SCHEDULE_DELAY="20")
    acknowledged: list[str] = []
    kills = times(200)
    with subprocess.Popen(
        [sys.executable, "-c", REPLAY_UNTIL_KILLED, EXAMPLES, source, journal],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(kills):
            process.stdin.write("\n")
            process.stdin.flush()
            program = int(process.stdout.readline())
            acknowledged += [
                process.stdout.readline().strip() for _ in range(choose.randint(1, 1500))
            ]
            os.kill(program, signal.SIGKILL)
            # No line is cut, as a pipe takes so few bytes at once or not at all.
            rest = itertools.takewhile(lambda line: line != "ended\n", process.stdout)
            acknowledged += [line.strip() for line in rest]
    assert process.returncode == 0

    drain = (
        "import sys, time, wakelog; from wakelog.journal import books; from pathlib import Path\n"
        "wakelog.configure(service_name='killed', directory=sys.argv[1])\n"
        "deadline = time.monotonic() + 60\n"
        "while any(b.pending for b in books(Path(sys.argv[1]))) and time.monotonic() < deadline:\n"
        "    time.sleep(0.05)\n"
    )
    run(drain, journal, env=env)

    in_journal = {entry.record.id for entry in read(journal)}
    received = collector.wait_for_logs(len(in_journal))
    delivered = set(by_uid(received))
    duplicates = len(received) - len(delivered)
    record_property("seed", seed)
    record_property("acknowledged", len(acknowledged))
    record_property("duplicates", duplicates)
    print(f"{protocol}: seed {seed}, {len(acknowledged)} acknowledged, {duplicates} duplicates")
    assert set(acknowledged) <= in_journal, f"seed {seed}"
    assert delivered == in_journal, f"seed {seed}"
    kept = books(journal)
    of_logs = [one for one in kept if signal_of(journal / one.writer) == "logs"]
    assert len(of_logs) == kills
    assert all(b.pending == b.corrupt == 0 for b in kept)


DROP_IN = """\
import logging
import sys
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
{the_line}
provider = LoggerProvider(resource=Resource({{"service.name": "shop"}}))
provider.add_log_record_processor(Processor(OTLPLogExporter()))
logging.getLogger().addHandler(LoggingHandler(level=logging.INFO, logger_provider=provider))
log = logging.getLogger("shop")
for number in range(20):
    log.warning("order %d is late", number, extra={{"order": number, "tags": ["a", "b"]}})
try:
    sys.exit({{}}["missing"])
except KeyError:
    log.exception("no such order")
assert provider.force_flush(60_000)
"""
THEIRS = "from opentelemetry.sdk._logs.export import BatchLogRecordProcessor as Processor"
OURS = "from wakelog.otel import DurableLogRecordProcessor as Processor"


def test_replacing_one_line_of_an_existing_pipeline_changes_nothing_that_arrives(
    collector: Collector, tmp_path: Path
) -> None:
    env = environment(collector, "http/protobuf", WAKELOG_DIR=str(tmp_path / "journal"))
    for the_line in (THEIRS, OURS):
        run(DROP_IN.format(the_line=the_line), env=env)

    collector.wait_for_logs(21)
    deadline = time.monotonic() + 60
    while len(collector.log_records()) < 42 and time.monotonic() < deadline:
        time.sleep(0.05)
    theirs = [comparable(log) for log in collector.log_records() if log.uid is None]
    ours = [comparable(log) for log in collector.log_records() if log.uid is not None]
    assert len(theirs) == 21
    assert ours == theirs


def comparable(log: ExportedLog) -> Any:
    attributes = {name: value for name, value in log.attributes.items() if name not in ADDED}
    assert log.time_unix_nano
    assert log.observed_time_unix_nano
    resource = {k: v for k, v in log.origin.resource.items() if k != "service.instance.id"}
    return (
        (log.body, log.severity_number, log.severity_text, log.event_name, attributes),
        (log.trace_id, log.span_id, log.flags, log.dropped_attributes_count),
        (resource, log.origin.scope_name, log.origin.scope_version, log.origin.schema_url),
    )
