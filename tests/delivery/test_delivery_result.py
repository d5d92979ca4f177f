"""What `flush` and `shutdown` answer: true only when all was delivered, and why not in words."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import wakelog
from tests.support.programs import environment
from wakelog import AgentLogger, Buffer, DeliveryResult, DurableLogRecordProcessor, OTelSink
from wakelog.errors import ConfigurationError
from wakelog.otel import DurableSpanProcessor
from wakelog.sinks import BufferedSink, FanOutSink, MemorySink

from opentelemetry.sdk._logs import LoggerProvider  # isort: skip


class NextHop(InMemoryLogRecordExporter):
    up = True

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return super().export(batch) if self.up else LogRecordExportResult.FAILURE


def logger_to(
    hop: NextHop | None, directory: Path, **processor: Any
) -> tuple[AgentLogger, DurableLogRecordProcessor]:
    durable = DurableLogRecordProcessor(hop, directory=directory, **processor)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    return AgentLogger("a", sink=OTelSink(provider, required=True, processors=[durable])), durable


def test_a_flush_that_delivered_everything_is_true_and_counts_it(tmp_path: Path) -> None:
    log, processor = logger_to(NextHop(), tmp_path)
    for number in range(3):
        log.decision(f"d{number}")

    result = log.flush(30)

    assert result == DeliveryResult(complete=True, delivered=3)
    assert str(result) == "3 delivered"
    assert processor.force_flush() is True  # the processors' own answer stays a bool
    processor.shutdown()


def test_a_flush_in_an_outage_says_what_is_pending_and_why(tmp_path: Path) -> None:
    hop = NextHop()
    log, processor = logger_to(hop, tmp_path)
    log.decision("d0")
    assert log.flush(30)
    hop.up = False
    log.decision("d1")
    log.decision("d2")

    result = log.flush(0.3)

    assert not result
    assert (result.delivered, result.pending) == (1, 2)
    assert "NextHop" in result.reason
    assert str(result) == f"1 delivered, 2 pending: {result.reason}"
    assert processor.close(0.5) is False
    assert processor.result(complete=False).pending == 2, "the books are kept after the end"


def test_a_journal_that_nobody_delivers_says_so(tmp_path: Path) -> None:
    log, processor = logger_to(None, tmp_path)
    assert log.flush(1), "nothing is recorded yet"
    log.decision("d")

    result = log.flush(1)

    assert (bool(result), result.pending, result.delivered) == (False, 1, 0)
    assert result.reason == "there is nowhere to deliver to: records are kept in the journal"
    processor.shutdown()


def test_a_dead_letter_was_not_delivered(tmp_path: Path) -> None:
    class Picky(NextHop):
        def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
            for one in batch:
                if (one.log_record.attributes or {}).get("wakelog.decision.text") == "bad":
                    raise TypeError("never taken")
            return super().export(batch)

    log, processor = logger_to(Picky(), tmp_path)
    for text in ("good", "bad", "good"):
        log.decision(text)

    result = log.flush(30)

    assert (bool(result), result.delivered, result.pending) == (False, 2, 0)
    assert result.dead_lettered == 1
    assert result.reason == "records are set aside as dead letters"
    processor.shutdown()


def test_what_is_in_memory_counts_as_pending(tmp_path: Path) -> None:
    log, processor = logger_to(NextHop(), tmp_path, buffer=Buffer(capacity=10))
    log.decision("d")

    assert log.flush(30).delivered == 1
    log.decision("e")
    assert processor.close(30)
    assert processor.result(complete=True) == DeliveryResult(complete=True, delivered=2)


def test_a_sink_that_delivers_nowhere_has_delivered_everything() -> None:
    assert AgentLogger(sink=MemorySink()).flush() == DeliveryResult(complete=True)
    assert AgentLogger().flush()


def test_results_add_up() -> None:
    one = DeliveryResult(complete=True, delivered=2)
    other = DeliveryResult(complete=False, delivered=1, pending=3, reason="down")

    assert one + other + other == DeliveryResult(
        complete=False, delivered=4, pending=6, reason="down"
    )
    assert one + one == DeliveryResult(complete=True, delivered=4)


def test_shutdown_answers_for_every_set_up_and_for_spans(tmp_path: Path) -> None:
    code = """
import json, wakelog
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult
class Down(InMemoryLogRecordExporter):
    def export(self, batch):
        return LogRecordExportResult.FAILURE
with wakelog.configure("a", exporter=InMemoryLogRecordExporter(), directory="up").run():
    pass
wakelog.configure("b", exporter=Down(), directory="down").decision("d")
result = wakelog.shutdown(5)
print(json.dumps([bool(result), result.delivered, result.pending, str(result)]))
again = wakelog.shutdown()
print(json.dumps([bool(again), again.delivered]))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(OTEL_TRACES_EXPORTER="none"), cwd=tmp_path, text=True, check=True,
        stdout=subprocess.PIPE, timeout=60,
    )  # fmt: skip

    first, second = map(json.loads, ran.stdout.splitlines())

    assert first[:3] == [False, 2, 1]
    assert first[3].startswith("2 delivered, 1 pending: ")
    assert second == [True, 0], "nothing was set up any more"
    assert wakelog.DeliveryResult is DeliveryResult


def test_a_flush_without_a_limit_waits_until_everything_is_delivered(tmp_path: Path) -> None:
    log, processor = logger_to(NextHop(), tmp_path / "one")
    log.decision("d0")
    assert log.flush(math.inf) == DeliveryResult(complete=True, delivered=1)
    log.decision("d1")
    endless: Any = math.inf
    assert processor.force_flush(endless)
    processor.shutdown(endless)

    spans = DurableSpanProcessor(InMemorySpanExporter(), directory=tmp_path / "two")
    assert spans.force_flush(endless)
    spans.shutdown(endless)
    buffered = BufferedSink(MemorySink())
    assert AgentLogger(sink=buffered).flush(math.inf)
    assert buffered.close(math.inf)
    log = wakelog.configure("a", service_name="s", directory=tmp_path, exporter=NextHop())
    log.decision("d2")
    assert wakelog.shutdown(math.inf) == DeliveryResult(complete=True, delivered=1)


@pytest.mark.parametrize("wrong", ["5", None, math.nan, True])
@pytest.mark.parametrize(
    "wait",
    [
        lambda wrong: AgentLogger(sink=MemorySink()).flush(wrong),
        lambda wrong: OTelSink(LoggerProvider(shutdown_on_exit=False)).flush(wrong),
        lambda wrong: BufferedSink(MemorySink()).close(wrong or math.nan),
        lambda wrong: BufferedSink(MemorySink()).flush(wrong or math.nan),
        lambda wrong: FanOutSink(MemorySink()).flush(wrong or math.nan),
        wakelog.shutdown,
    ],
)
def test_a_timeout_that_is_no_number_is_refused_by_its_name(
    wait: Callable[[Any], object], wrong: object
) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout is "):
        wait(wrong)
