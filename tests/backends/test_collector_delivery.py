"""Delivery into the real Collector: stopped, restarted, stopped in its tracks, out of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord

from tests.conftest import ROOT
from tests.support.collector import CONFIG, Collector
from tests.support.delivering import Bench, Hop
from wakelog.delivery import ExportOutcome, Outcome, _circuit
from wakelog.events import semconv as s
from wakelog.journal import books
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Resource, encode, uuid7

SECONDS = 60
PROTOCOLS = ["http/protobuf", "grpc"]
LIMITED = """
processors:
  memory_limiter:
    check_interval: 20ms
    limit_mib: ${env:LIMIT_MIB}
    spike_limit_mib: 0
"""


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_circuit, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(_circuit, "LONGEST_DELAY", 0.2)


def exporter_to(collector: Collector, protocol: str, timeout: float = 1) -> Any:
    if protocol == "grpc":
        return GRPCExporter(endpoint=collector.grpc_endpoint, insecure=True, timeout=timeout)
    return HTTPExporter(endpoint=f"{collector.http_endpoint}/v1/logs", timeout=timeout)


Recording = tuple[DurableLogRecordProcessor, Callable[[int], None]]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Callable[..., Recording]]:
    made: list[DurableLogRecordProcessor] = []

    def begin(collector: Collector, protocol: str) -> Recording:
        durable = DurableLogRecordProcessor(
            exporter_to(collector, protocol), 20, directory=tmp_path / "j"
        )
        made.append(durable)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(durable)
        logger = provider.get_logger("x")

        def emit(count: int) -> None:
            for number in range(count):
                logger.emit(LogRecord(body=number))

        return durable, emit

    yield begin
    for durable in made:
        durable.close(1)


def check_all_arrived(collector: Collector, root: Path, count: int) -> None:
    collector.wait_for_logs(count, SECONDS)
    [found] = books(root)
    assert (found.accepted, found.delivered, found.pending) == (count, count, 0)
    seen = Counter(log.attributes[s.SEQ] for log in collector.log_records())
    assert seen.keys() == set(range(1, count + 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_collector_that_is_restarted_gets_everything(
    tmp_path: Path, collector: Collector, recording: Any, protocol: str, how: str
) -> None:
    durable, emit = recording(collector, protocol)
    emit(100)
    assert durable.force_flush(SECONDS * 1000)
    getattr(collector, how)()
    emit(3000)
    assert not durable.force_flush(100)
    collector.start()
    emit(10)

    assert durable.force_flush(SECONDS * 1000)
    check_all_arrived(collector, tmp_path / "j", 3110)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_stands_still_for_a_while_gets_everything(
    tmp_path: Path, collector: Collector, recording: Any, protocol: str
) -> None:
    durable, emit = recording(collector, protocol)
    assert collector.pid is not None
    os.kill(collector.pid, signal.SIGSTOP)
    try:
        emit(50)
        assert not durable.force_flush(1500)  # longer than one attempt lasts
    finally:
        os.kill(collector.pid, signal.SIGCONT)

    assert durable.force_flush(SECONDS * 1000)
    check_all_arrived(collector, tmp_path / "j", 50)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_without_memory_refuses_and_gets_everything_later(
    tmp_path: Path, collector_binary: Path, recording: Any, protocol: str
) -> None:
    config = tmp_path / "limited.yaml"
    text = CONFIG.read_text("utf-8").replace(
        "      receivers: [otlp]\n      exporters: [file/logs]",
        "      receivers: [otlp]\n      processors: [memory_limiter]\n      exporters: [file/logs]",
    )
    config.write_text(text + LIMITED)
    (tmp_path / "collector").mkdir()
    collector = Collector(collector_binary, tmp_path / "collector", config)
    collector._environment["LIMIT_MIB"] = "1"
    with collector:
        durable, emit = recording(collector, protocol)
        # It begins to refuse with its first look at its memory, which comes after it is healthy.
        emitted = 200
        emit(200)
        while durable.force_flush(1500):
            emit(10)
            emitted += 10
        assert books(tmp_path / "j")[0].dead_lettered == 0

        collector.stop()
        collector._environment["LIMIT_MIB"] = "2000"
        collector.start()
        assert durable.force_flush(SECONDS * 1000)
        check_all_arrived(collector, tmp_path / "j", emitted)


# One bad record costs one record.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_four_odd_records_among_512_cost_themselves_at_most(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    """A lone surrogate, an integer of 71 bits, a body of 100 MB and an object."""
    odd: dict[int, Any] = {100: "cut \ud83d", 200: 2**70, 300: "x" * 100_000_000, 400: object()}
    exporter = exporter_to(collector, protocol, timeout=30)
    durable = DurableLogRecordProcessor(exporter, 20, directory=tmp_path / "j")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    logger = provider.get_logger("x")
    for number in range(512):
        logger.emit(LogRecord(body=odd.get(number, number)))
    durable.force_flush(SECONDS * 1000)
    provider.shutdown()

    [found] = books(tmp_path / "j")
    assert found.accepted == 512
    assert found.delivered + found.dead_lettered == 512
    assert found.dead_lettered <= 4
    arrived = {log.attributes[s.SEQ] - 1: log.body for log in collector.log_records()}
    as_they_were = {number for number, body in arrived.items() if body == number}
    assert as_they_were >= set(range(512)) - odd.keys()
    assert arrived.keys() == set(range(512))


class Posting(Hop):
    """Judges by the status of the real Collector's answer."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._url = f"{endpoint}/v1/logs"

    def __call__(self, batch: Sequence[ReadableLogRecord]) -> ExportOutcome:
        data = encode_logs(batch).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf"}
        try:
            answer = requests.post(self._url, data, headers=headers, timeout=30)
        except requests.ConnectionError as error:
            # It closes the connection upon a body that is too large, before it was sent whole.
            outcome = Outcome.TOO_LARGE if len(data) > 20 << 20 else Outcome.RETRYABLE
            return ExportOutcome(outcome, str(error))
        if answer.ok:
            self.records += batch
            return ExportOutcome(Outcome.DELIVERED)
        return ExportOutcome(Outcome.TOO_LARGE, f"{answer.status_code}: {answer.text[:200]}")


@pytest.mark.parametrize("can_be_shorter", [True, False])
def test_a_record_that_is_too_large_for_the_collector_costs_no_other(
    tmp_path: Path, collector: Collector, can_be_shorter: bool
) -> None:
    """Above its limit of 20 MiB a request, everything is the same as at 100 MB."""
    bench = Bench(tmp_path / "j", Posting(collector.http_endpoint))
    size = 22 << 20
    large = "x" * size
    # Content is sent once more with a preview; a name or id is never shortened.
    fields: dict[str, object] = (
        {"body": large} if can_be_shorter else {"attributes": {s.CONVERSATION_ID: large}}
    )
    for number in range(512):
        content = encode(fields if number == 300 else {"body": number}, 2 * size)
        bench.journal.append(uuid7(), content, Resource({}))
    bench.drain()
    bench.close()

    [found] = books(tmp_path / "j")
    delivered = (512, 0, 0) if can_be_shorter else (511, 1, 0)
    assert (found.delivered, found.dead_lettered, found.pending) == delivered
    received = collector.wait_for_logs(512, SECONDS)
    assert {log.attributes[s.SEQ] for log in received} == set(range(1, 513))
    stand_ins = [log for log in received if log.event_name == s.DEAD_LETTER_EVENT]
    if can_be_shorter:
        [shortened] = [log for log in received if log.attributes[s.SEQ] == 301]
        assert not stand_ins
        assert shortened.attributes[s.TRUNCATED_BYTES] > size // 2
    else:
        [stand_in] = stand_ins
        assert stand_in.attributes[s.SEQ] == 301
        assert stand_in.attributes[s.DEAD_LETTER_SIZE] > size


def test_a_small_backlog_drains_while_live_events_arrive(collector_binary: Path) -> None:
    """The benchmark itself, for some thousand records: its figures are for an idle machine."""
    program = ROOT / "benchmarks" / "bench_backlog_drain.py"
    done = subprocess.run(
        [sys.executable, str(program), "--records", "4000"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "4,000 records over http/protobuf" in done.stdout
    assert "p99" in done.stdout
