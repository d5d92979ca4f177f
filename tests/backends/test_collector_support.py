"""The test Collector: what it was sent can be read back, and a restart keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
    OTLPLogExporter as GrpcLogExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import (
    OTLPLogExporter as HttpLogExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode

from tests.support.collector import Collector

NESTED: dict[str, Any] = {
    "text": "é\n",
    "whole": 2**62,
    "double": 1.0,
    "flag": False,
    "bytes": b"\x00\xff",
    "list": ["a", 1, 2.5],
    "map": {"inner": {"deep": [True]}},
}


def log_exporter(collector: Collector, protocol: str) -> LogRecordExporter:
    if protocol == "grpc":
        return GrpcLogExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpLogExporter(endpoint=f"{collector.http_endpoint}/v1/logs")


def emit(collector: Collector, protocol: str, *uids: str) -> None:
    provider = LoggerProvider(
        resource=Resource({"service.name": "support"}), shutdown_on_exit=False
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(log_exporter(collector, protocol)))
    logger = provider.get_logger("a.scope", "1.2", attributes={"scope.key": "v"})
    for uid in uids:
        logger.emit(
            LogRecord(
                timestamp=1_700_000_000_123_456_789,
                observed_timestamp=1_700_000_000_123_456_790,
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                event_name="an.event",
                body=NESTED,
                attributes={"log.record.uid": uid, **NESTED},
            )
        )
    provider.shutdown()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_log_record_arrives_as_it_was_emitted(collector: Collector, protocol: str) -> None:
    emit(collector, protocol, "uid-1")

    [record] = collector.wait_for_logs(1)

    assert record.uid == "uid-1"
    assert record.attributes == {"log.record.uid": "uid-1", **NESTED}
    assert record.body == NESTED
    assert type(record.body["double"]) is float
    assert type(record.body["whole"]) is int
    assert record.event_name == "an.event"
    assert (record.severity_number, record.severity_text) == (13, "WARN")
    assert record.time_unix_nano == 1_700_000_000_123_456_789
    assert record.observed_time_unix_nano == 1_700_000_000_123_456_790
    assert record.origin.resource["service.name"] == "support"
    assert (record.origin.scope_name, record.origin.scope_version) == ("a.scope", "1.2")
    assert record.origin.scope_attributes == {"scope.key": "v"}


def test_a_span_arrives_with_its_parent_events_links_and_status(collector: Collector) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.http_endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("a.scope")
    with tracer.start_as_current_span("outer") as outer:
        link = Link(outer.get_span_context(), {"why": "test"})
        with tracer.start_as_current_span("inner", kind=SpanKind.CLIENT, links=[link]) as inner:
            inner.set_attribute("n", 7)
            inner.add_event("happened", {"k": [1, 2]})
            inner.set_status(StatusCode.ERROR, "broken")
    provider.shutdown()

    first, second = collector.spans()

    assert (first.name, first.kind, second.name, second.kind) == (
        "inner",
        "CLIENT",
        "outer",
        "INTERNAL",
    )
    assert first.trace_id == second.trace_id == f"{outer.get_span_context().trace_id:032x}"
    assert first.parent_span_id == second.span_id
    assert first.attributes == {"n": 7}
    assert [(e.name, e.attributes) for e in first.events] == [("happened", {"k": [1, 2]})]
    assert [(link.span_id, link.attributes) for link in first.links] == [
        (second.span_id, {"why": "test"})
    ]
    assert (first.status, first.status_message, second.status) == ("ERROR", "broken", "UNSET")


@pytest.mark.parametrize("end", [Collector.stop, Collector.kill], ids=["stop", "kill"])
def test_a_restart_keeps_every_acknowledged_record_and_the_ports(collector: Collector, end) -> None:
    endpoints = collector.http_endpoint, collector.grpc_endpoint
    emit(collector, "http/protobuf", *(f"before-{n}" for n in range(20)))

    end(collector)
    assert collector.pid is None
    collector.start()
    emit(collector, "grpc", "after")

    records = collector.wait_for_logs(21)
    assert [record.uid for record in records] == [*(f"before-{n}" for n in range(20)), "after"]
    assert (collector.http_endpoint, collector.grpc_endpoint) == endpoints


def test_an_unfinished_line_is_neither_read_nor_joined_with_the_next(
    collector: Collector, tmp_path
) -> None:
    emit(collector, "http/protobuf", "whole")
    collector.kill()
    with (tmp_path / "collector" / "logs.jsonl").open("ab") as file:
        file.write(b'{"resourceLogs":[{"reso')
    assert [record.uid for record in collector.log_records()] == ["whole"]

    collector.start()
    emit(collector, "http/protobuf", "next")

    assert [record.uid for record in collector.wait_for_logs(2)] == ["whole", "next"]


def test_waiting_for_what_never_comes_ends_with_the_numbers(collector: Collector) -> None:
    emit(collector, "http/protobuf", "one")

    with pytest.raises(TimeoutError, match="1 of 2 distinct"):
        collector.wait_for_logs(2, timeout=0.1)
