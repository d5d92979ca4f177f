"""A thousand events through each front door, past a kill and past outages; and the SDK beside it.

The SDK's own pipeline loses them: by a kill what is in its queue, at an exit without a Collector
everything, in an outage what its exporter gave up. Its figures are asserted too, so that what the
pages say of it stays true.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.programs import EXAMPLES, SECONDS, environment, run, wait_until

EVENTS = 1_000
DOORS = ["structlog", "logging", "AgentLogger"]
SDK = "SDK"
# Longer than any test: whatever the SDK's batch processor sends, it does not send by the clock.
NEVER = "600000"

SET_UP = """\
import logging, os, signal, sys
def set_up(door):
    if door == "SDK":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        handler = LoggingHandler(logger_provider=provider)
    else:
        import wakelog
        log = wakelog.configure("counter")
    if door in ("SDK", "logging"):
        if door == "logging":
            from wakelog.integrations.logging import WakelogHandler
            handler = WakelogHandler()
        logger = logging.getLogger("door")
        logger.propagate = False
        logger.addHandler(handler)
        return lambda n: logger.warning("event", extra={"number": n})
    if door == "structlog":
        import structlog
        from wakelog.integrations.structlog import WakelogProcessor
        structlog.configure(processors=[WakelogProcessor(last=True)])
        return lambda n: structlog.get_logger().info("event", number=n)
    return lambda n: log.emit("custom", attributes={"number": n})
emit = set_up(sys.argv[1])
"""
KILLED = (
    SET_UP
    + """\
for number in range(1000):
    emit(number)
os.kill(os.getpid(), signal.SIGKILL)
"""
)
ENDS = (
    SET_UP
    + """\
for number in range(1000):
    emit(number)
"""
)
LIVES = (
    SET_UP
    + """\
for number in range(1000):
    emit(number)
print("emitted", flush=True)
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


def numbers(collector: Collector) -> set[object]:
    return {log.attributes.get("number") for log in collector.log_records()} - {None}


def all_arrived(collector: Collector) -> bool:
    return len(numbers(collector)) == EVENTS


@contextmanager
def started(program: str, door: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that has said its first line, and is told to go on at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", program, door],
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


def report(what: str, door: str, collector: Collector) -> int:
    arrived = len(numbers(collector))
    print(f"{what}, {door}: {arrived} of {EVENTS}")
    return arrived


def with_journal(collector: Collector, tmp_path: Path, **more: str) -> dict[str, str]:
    return environment(
        collector, WAKELOG_DIR=str(tmp_path / "journal"), OTEL_EXPORTER_OTLP_TIMEOUT="2", **more
    )


@pytest.mark.parametrize("door", [*DOORS, SDK])
def test_a_kill_right_after_the_last_call_loses_nothing(
    collector: Collector, tmp_path: Path, door: str
) -> None:
    # The SDK exports when 512 have come; with its default delay a part of them may be through.
    env = with_journal(
        collector, tmp_path, OTEL_BLRP_SCHEDULE_DELAY=NEVER, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE="2048"
    )

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, door],
        env=env,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with started(RESTARTED, door, with_journal(collector, tmp_path)):
        if door != SDK:
            wait_until(lambda: all_arrived(collector), "delivery after the restart")

    assert report("killed, restarted", door, collector) == (0 if door == SDK else EVENTS)


@pytest.mark.parametrize("door", [*DOORS, SDK])
def test_an_outage_as_long_as_the_process_loses_nothing(
    collector: Collector, tmp_path: Path, door: str
) -> None:
    env = with_journal(collector, tmp_path)
    collector.stop()

    run("-c", ENDS, door, env=env)
    collector.start()
    with started(RESTARTED, door, env):
        if door != SDK:
            wait_until(lambda: all_arrived(collector), "delivery after the restart")

    assert report("down for the whole process", door, collector) == (0 if door == SDK else EVENTS)


@pytest.mark.parametrize("door", [*DOORS, SDK])
def test_an_outage_at_the_start_of_a_process_loses_nothing(
    collector: Collector, tmp_path: Path, door: str
) -> None:
    env = with_journal(collector, tmp_path, OTEL_BLRP_SCHEDULE_DELAY="100")
    collector.stop()

    with started(LIVES, door, env):
        # The outage lasts until everything was tried and given up once: longer than the exporter's
        # time-out, which is what loses the SDK's records.
        if door == SDK:
            outage_seen(4.0)
        collector.start()
        if door != SDK:
            wait_until(lambda: all_arrived(collector), "delivery after the outage")

    assert report("down at first", door, collector) == (0 if door == SDK else EVENTS)


def outage_seen(seconds: float) -> None:
    import time

    time.sleep(seconds)


def test_the_structlog_example_arrives_whole(collector: Collector, tmp_path: Path) -> None:
    done = run(
        EXAMPLES / "structlog_app.py", "--directory", tmp_path / "j", env=environment(collector)
    )

    printed = done.stdout.strip().split("\n")
    received = collector.wait_for_logs(30, SECONDS)
    assert len(received) == len(printed) == 30
    assert {log.attributes["request_id"] for log in received} == {f"r-{n}" for n in range(1, 11)}
    assert not any("ann@example.com" in str(log.attributes) for log in received)
    failed = [log for log in received if "exception.type" in log.attributes]
    assert len(failed) == 2
    assert {log.attributes["exception.type"] for log in failed} == {"__main__.OutOfStockError"}
    assert sum(log.event_name == "shop.order.shipped" for log in received) == 8
    assert sum(log.event_name == "wakelog.tool_call" for log in received) == 10


def test_an_existing_pipeline_works_on_and_nothing_is_exported_twice(
    collector: Collector, tmp_path: Path
) -> None:
    done = run(
        EXAMPLES / "existing_pipeline.py",
        "--directory",
        tmp_path / "j",
        env=environment(collector),
    )

    assert done.stdout == '{"unchanged": true, "metrics": {"transfers": 5}}\n'
    received = collector.wait_for_logs(10, SECONDS)
    wait_until(lambda: len(collector.log_records()) >= 15, "the export of the program's own")
    received = collector.log_records()
    theirs = [str(log.body) for log in received if log.uid is None]
    ours = [log.event_name for log in received if log.uid is not None]
    assert sorted(theirs) == [f"transfer {number}" for number in range(5)]
    assert sorted(ours) == ["wakelog.tool_call"] * 5 + ["wakelog.tool_result"] * 5
    spans = collector.spans()
    assert sorted(span.name for span in spans) == ["execute_tool book"] * 5 + ["transfer"] * 5
    assert len({span.span_id for span in spans}) == 10
    parents = {span.span_id for span in spans if span.name == "transfer"}
    assert {span.parent_span_id for span in spans if span.name != "transfer"} == parents
    assert {log.origin.resource["service.name"] for log in received} == {"bank"}
