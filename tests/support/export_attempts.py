"""What tests of export attempts share: a batch, next hops with a script, and exporters that send to them."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tests.support.scripted import Scripted, ScriptedGRPC, ScriptedHTTP
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._exporters import log_exporter
from wakelog.otel._response_capture import ExportAttempt

DELIVERED = ExportOutcome(Outcome.DELIVERED)
SHORT = 0.2
# The exporters hand down what is left of their time-out after encoding.
IN_TIME = r" did not answer within 0(\.[12])? s$"


def record(uid: str, body: Any = "hello", **attributes: Any) -> ReadableLogRecord:
    entry = LogRecord(timestamp=1, observed_timestamp=1, body=body)
    # Not through the constructor: the API would clean what this has to carry to the encoder.
    entry.attributes = {"log.record.uid": uid, **attributes}
    return ReadableLogRecord(entry, Resource.get_empty(), InstrumentationScope("test"))


BATCH = [record("a"), record("b"), record("c")]


def exporter_to(hop: Scripted, **options: Any) -> LogRecordExporter:
    """The exporter that a user makes and hands over."""
    options.setdefault("timeout", 30)
    if isinstance(hop, ScriptedHTTP):
        return HTTPExporter(endpoint=hop.logs_endpoint, **options)
    return GRPCExporter(endpoint=hop.endpoint, **options)


@pytest.fixture(params=["http", "grpc"])
def hop(request):
    with ScriptedHTTP() if request.param == "http" else ScriptedGRPC() as hop:
        yield hop


@pytest.fixture
def http_hop():
    with ScriptedHTTP() as hop:
        yield hop


@pytest.fixture(scope="module")
def tried():
    """A next hop and a judge for each protocol, for the many answers that are tried alike."""
    with ScriptedHTTP() as http, ScriptedGRPC() as grpc_:
        yield {
            "http": (http, attempt_through(exporter_to(http))),
            "grpc": (grpc_, attempt_through(exporter_to(grpc_))),
        }


@pytest.fixture
def noisy():
    """Says that the exporter may log in this test."""


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog, request):
    """No library has anything to say while we export: Wakelog says it, once."""
    caplog.set_level(logging.INFO)
    for protocol in ("http._log_exporter", "grpc.exporter"):
        for known in logging.getLogger(f"opentelemetry.exporter.otlp.proto.{protocol}").filters:
            vars(known).clear()  # what a test before this one made it say is said again
    yield
    if "noisy" not in request.fixturenames:
        assert [(r.name, r.getMessage()) for r in caplog.get_records("call")] == []


def connected_again(judge: ExportAttempt) -> ExportOutcome:
    """Return the first outcome of an attempt that is made over a new connection.

    Over gRPC an attempt right after a broken one may still be given to the connection that has broken.
    """
    deadline = time.monotonic() + 60
    while (outcome := judge(BATCH)).kind is Outcome.RETRYABLE:
        assert time.monotonic() < deadline, outcome.reason
    return outcome


def made_from_environment(hop: Scripted, monkeypatch: pytest.MonkeyPatch) -> LogRecordExporter:
    """The exporter that `configure()` makes."""
    protocol = "http/protobuf" if isinstance(hop, ScriptedHTTP) else "grpc"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hop.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    exporter = log_exporter()
    assert exporter is not None
    return exporter
