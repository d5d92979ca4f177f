"""A thousand events through each front door, past a kill and past outages; and the SDK beside it.

The SDK's own pipeline loses them: by a kill what is in its queue, at an exit without a Collector
everything, in an outage what its exporter gave up. Its figures are asserted too, so that what the
pages say of it stays true.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.otlp import ExportedLog
from tests.support.programs import EXAMPLES, LONG_EXIT, SECONDS, environment, run
from tests.support.waiting import until

EVENTS = 1_000
WAKELOG, SDK = ["structlog", "logging", "AgentLogger"], ["SDK"]
both = pytest.mark.parametrize("doors", [WAKELOG, SDK], ids=["wakelog", "sdk"])

SET_UP = """\
import logging, os, signal, sys, time

def set_up():
    if sys.argv[1:] == ["SDK"]:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        handler, try_once = LoggingHandler(logger_provider=provider), provider.force_flush
    else:
        import structlog, wakelog
        from wakelog.integrations.logging import WakelogHandler
        from wakelog.integrations.structlog import WakelogProcessor
        log = wakelog.configure("counter")
        handler, try_once = WakelogHandler(), lambda: log.flush(1.0)
        structlog.configure(processors=[WakelogProcessor(last=True)])
    logger = logging.getLogger("door")
    logger.propagate = False
    logger.addHandler(handler)

    def emit(door, number):
        given = {"number": number, "door": door}
        if door == "structlog":
            structlog.get_logger().info("event", **given)
        elif door == "AgentLogger":
            log.emit("custom", attributes=given)
        else:
            logger.warning("event", extra=given)

    return emit, try_once

emit, try_once = set_up()
"""
EMIT = (
    SET_UP
    + """\
for number in range(1000):
    for door in sys.argv[1:]:
        emit(door, number)
"""
)
KILLED = EMIT + "os.kill(os.getpid(), signal.SIGKILL)"
LIVES = (
    EMIT
    + """\
try_once()  # the exporter has tried, and the SDK's has given up
print("tried", flush=True)
sys.stdin.readline()
"""
)
RESTARTED = (
    SET_UP
    + """\
print("started", flush=True)
sys.stdin.readline()
"""
)


def arrived(collector: Collector) -> Counter[str]:
    """Count what has arrived through each door, second copies not."""
    pairs = {(log.attributes.get("door"), log.attributes["number"]) for log in received(collector)}
    return Counter(str(door) for door, _ in pairs)


def received(collector: Collector) -> list[ExportedLog]:
    return [log for log in collector.log_records() if "number" in log.attributes]


def expected(doors: list[str]) -> Counter[str]:
    return Counter() if doors == SDK else Counter(dict.fromkeys(doors, EVENTS))


@contextmanager
def started(program: str, doors: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that has said its first line, and is told to go on at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *doors],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the program has ended"
            yield process
            process.communicate("\n", timeout=SECONDS)
        finally:
            process.kill()


def let_arrive(collector: Collector, doors: list[str]) -> None:
    """Wait for everything that Wakelog delivers; for the SDK, its exit sends what it has."""
    if doors != SDK:
        until(lambda: arrived(collector) == expected(doors), "the delivery of everything")


def check(what: str, doors: list[str], collector: Collector) -> None:
    found = arrived(collector)
    for door in doors:
        print(f"{what}, {door}: {found[door]} of {EVENTS} arrived")
    assert found == expected(doors)


def settings(collector: Collector, tmp_path: Path, **more: str) -> dict[str, str]:
    return environment(
        collector, WAKELOG_DIR=str(tmp_path / "journal"), OTEL_EXPORTER_OTLP_TIMEOUT="2", **more
    )


@both
def test_a_kill_right_after_the_last_call_loses_nothing(
    collector: Collector, tmp_path: Path, doors: list[str]
) -> None:
    # A delay and a batch that are never reached: else it is luck what the SDK has sent.
    never = {"OTEL_BLRP_SCHEDULE_DELAY": "600000", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "2048"}

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *doors],
        env=settings(collector, tmp_path, **never),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with started(RESTARTED, doors, settings(collector, tmp_path)):
        let_arrive(collector, doors)

    check("killed and restarted", doors, collector)


@both
def test_an_outage_as_long_as_the_process_loses_nothing(
    collector: Collector, tmp_path: Path, doors: list[str]
) -> None:
    env = settings(collector, tmp_path)
    collector.stop()

    run("-c", EMIT, *doors, env=env)
    collector.start()
    with started(RESTARTED, doors, env):
        let_arrive(collector, doors)

    check("down for the whole process", doors, collector)


@both
def test_an_outage_at_the_start_of_a_process_loses_nothing(
    collector: Collector, tmp_path: Path, doors: list[str]
) -> None:
    collector.stop()

    with started(LIVES, doors, settings(collector, tmp_path)):
        # Longer outages are tried by hand; what matters is that exports have failed by now.
        time.sleep(float(os.environ.get("WAKELOG_TEST_OUTAGE_SECONDS", "0")))
        collector.start()
        let_arrive(collector, doors)

    check("down at first", doors, collector)


def test_the_structlog_example_arrives_whole(collector: Collector, tmp_path: Path) -> None:
    done = run(
        *(EXAMPLES / "structlog_app.py", "--directory", tmp_path / "j"),
        env=environment(collector, **LONG_EXIT),
    )

    printed = done.stdout.strip().split("\n")
    logs = collector.wait_for_logs(30, SECONDS)
    assert len(logs) == len(printed) == 30
    assert {log.attributes["request_id"] for log in logs} == {f"r-{n}" for n in range(1, 11)}
    assert not any("ann@example.com" in str(log.attributes) for log in logs)
    failed = [log for log in logs if "exception.type" in log.attributes]
    assert len(failed) == 2
    assert {log.attributes["exception.type"] for log in failed} == {"__main__.OutOfStockError"}
    assert sum(log.event_name == "shop.order.shipped" for log in logs) == 8
    assert sum(log.event_name == "wakelog.tool_call" for log in logs) == 10


def test_an_existing_pipeline_works_on_and_nothing_is_exported_twice(
    collector: Collector, tmp_path: Path
) -> None:
    done = run(
        *(EXAMPLES / "existing_pipeline.py", "--directory", tmp_path / "j"),
        env=environment(collector, **LONG_EXIT),
    )

    assert done.stdout == '{"unchanged": true, "metrics": {"transfers": 5}}\n'
    collector.wait_for_logs(10, SECONDS)
    until(lambda: len(collector.log_records()) >= 15, "the export of the program's own")
    logs = collector.log_records()
    theirs = [str(log.body) for log in logs if log.uid is None]
    ours = [log.event_name for log in logs if log.uid is not None]
    assert sorted(theirs) == [f"transfer {number}" for number in range(5)]
    assert sorted(ours) == ["wakelog.tool_call"] * 5 + ["wakelog.tool_result"] * 5
    spans = collector.spans()
    assert sorted(span.name for span in spans) == ["execute_tool book"] * 5 + ["transfer"] * 5
    assert len({span.span_id for span in spans}) == 10
    parents = {span.span_id for span in spans if span.name == "transfer"}
    assert {span.parent_span_id for span in spans if span.name != "transfer"} == parents
    assert {log.origin.resource["service.name"] for log in logs} == {"bank"}
