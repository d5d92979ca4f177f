"""An export attempt that gets no answer: time-outs, connections, TLS, and what cannot be encoded."""

from __future__ import annotations

import re
import ssl
import time

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs.export import LogRecordExporter

from tests.conftest import ROOT
from tests.support.export_attempts import (
    BATCH,
    DELIVERED,
    IN_TIME,
    SHORT,
    connected_again,
    exporter_to,
    hop,
    http_hop,
    made_from_environment,
    noisy,
    nothing_is_logged,
    record,
    tried,
)
from tests.support.scripted import (
    BAD_REQUEST,
    CLOSE,
    HANG,
    RESET,
    Answer,
    Scripted,
    ScriptedGRPC,
    ScriptedHTTP,
)
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.otel._export_attempt import attempt_through

__all__ = ["hop", "http_hop", "noisy", "nothing_is_logged", "tried"]


TLS = ROOT / "tests" / "support" / "tls"
UIDS = ["a", "b", "c"]


# --- No answer ----------------------------------------------------------------------------------


def test_no_answer_in_time_is_pending_and_the_exporters_time_out_is_kept(hop):
    hop.answer(HANG)
    judge = attempt_through(exporter_to(hop, timeout=SHORT))

    begun = time.monotonic()
    outcome = judge(BATCH)

    assert time.monotonic() - begun >= SHORT * 0.9
    assert outcome.kind is Outcome.RETRYABLE
    assert re.search(IN_TIME, outcome.reason)
    assert len(hop.received) <= 1  # a slow machine may not have got so far


@pytest.mark.parametrize("answer", [RESET, CLOSE], ids=["reset", "close"])
def test_a_connection_that_ends_without_an_answer_leaves_the_batch_pending(hop, answer):
    hop.answer(answer)
    judge = attempt_through(exporter_to(hop))

    outcome = judge(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert re.search(r"(closed the connection|broke its answer off)$", outcome.reason)
    assert len(hop.received) == 1
    assert connected_again(judge) == DELIVERED
    assert len(hop.received) == 2


def test_a_next_hop_that_is_down_refuses_and_is_found_again_at_once_when_it_is_back(hop):
    judge = attempt_through(exporter_to(hop))
    assert judge(BATCH) == DELIVERED

    hop.stop()
    verdicts = [judge(BATCH) for _ in range(5)]
    hop.start()

    assert {outcome.kind for outcome in verdicts} == {Outcome.RETRYABLE}
    assert verdicts[-1].reason.endswith(" refuses connections")
    assert judge(BATCH) == DELIVERED
    assert hop.uids() == UIDS * 2


@pytest.mark.parametrize("exporter", [HTTPExporter, GRPCExporter])
def test_a_host_that_has_no_address_is_named(exporter):
    judge = attempt_through(exporter(endpoint="http://nowhere.invalid:4317", timeout=60))

    outcome = judge(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert "nowhere.invalid:4317" in outcome.reason
    assert outcome.reason.endswith(" has a host name that cannot be resolved")


def test_the_wrong_protocol_is_named():
    with ScriptedHTTP() as http, ScriptedGRPC() as grpc_:
        over_http = attempt_through(HTTPExporter(endpoint=f"{grpc_.endpoint}/v1/logs"))(BATCH)
        over_grpc = attempt_through(GRPCExporter(endpoint=http.endpoint))(BATCH)

    assert over_http.kind is over_grpc.kind is Outcome.RETRYABLE
    assert "it may be an OTLP/gRPC port" in over_http.reason
    assert "it may be an OTLP/HTTP port" in over_grpc.reason


def test_a_proxy_that_is_in_the_way_is_named(http_hop, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", http_hop.endpoint)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    judge = attempt_through(HTTPExporter(endpoint="http://elsewhere.invalid/v1/logs"))
    http_hop.answer(Answer(status=407))

    asked = judge(BATCH)
    http_hop.stop()
    refused = judge(BATCH)

    assert asked.kind is refused.kind is Outcome.RETRYABLE
    assert "check the credentials for the proxy" in asked.reason
    assert "could not be reached through the proxy" in refused.reason


def test_credentials_in_an_address_stay_out_of_the_reason(http_hop):
    address = http_hop.logs_endpoint.replace("http://", "http://ann:secret@") + "?key=secret"
    http_hop.answer(BAD_REQUEST)

    outcome = attempt_through(HTTPExporter(endpoint=address))(BATCH)

    assert http_hop.logs_endpoint in outcome.reason
    assert "secret" not in outcome.reason


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(params=["http", "grpc"])
def tls_hop(request, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # `requests` prefers them to the argument
        monkeypatch.delenv(name, raising=False)
    certificate, key = TLS / "certificate.pem", TLS / "key.pem"
    hop: Scripted
    if request.param == "http":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        hop = ScriptedHTTP(tls=context)
    else:
        pair = (key.read_bytes(), certificate.read_bytes())
        hop = ScriptedGRPC(credentials=grpc.ssl_server_credentials([pair]))
    with hop:
        yield hop


def test_an_exporter_that_trusts_the_certificate_delivers(tls_hop):
    if isinstance(tls_hop, ScriptedHTTP):
        exporter = exporter_to(tls_hop, certificate_file=str(TLS / "certificate.pem"))
    else:
        root = (TLS / "certificate.pem").read_bytes()
        exporter = exporter_to(tls_hop, credentials=grpc.ssl_channel_credentials(root))

    assert attempt_through(exporter)(BATCH) == DELIVERED
    assert tls_hop.uids() == UIDS


def test_a_certificate_from_the_environment_is_trusted(tls_hop, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(TLS / "certificate.pem"))
    exporter = made_from_environment(tls_hop, monkeypatch)

    assert attempt_through(exporter)(BATCH) == DELIVERED


def test_a_certificate_that_is_not_trusted_leaves_the_batch_pending(tls_hop):
    outcome = attempt_through(exporter_to(tls_hop))(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert "has a TLS certificate that is not trusted here" in outcome.reason
    assert f"127.0.0.1:{tls_hop.port}" in outcome.reason
    assert tls_hop.received == []


def test_a_hop_without_tls_is_said_to_want_another_address(hop):
    if isinstance(hop, ScriptedHTTP):
        address = hop.logs_endpoint.replace("http:", "https:")
        exporter: LogRecordExporter = HTTPExporter(endpoint=address, timeout=30)
    else:  # without a scheme, as OpenTelemetry for Python has it
        exporter = GRPCExporter(endpoint=hop.endpoint.removeprefix("http://"), timeout=30)

    outcome = attempt_through(exporter)(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert (
        "does not speak TLS; an address that begins with http:// is used without" in outcome.reason
    )


# --- The encoder --------------------------------------------------------------------------------


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.usefixtures("noisy")  # the exporter says once what it cannot encode
@pytest.mark.parametrize(
    "poison, said",
    [
        (record("bad", "half an emoji \ud83d"), "surrogates not allowed"),
        (record("bad", 2**70), "Value out of range"),
        (record("bad", object()), "Invalid type"),
        (record("bad", nested(60)), "MaxDepth"),
        (record("bad", attribute=nested(49)), "MaxDepth"),
    ],
    ids=["surrogate", "big-integer", "object", "deep-body", "deep-attribute"],
)
def test_a_batch_that_cannot_be_encoded_is_refused_with_the_encoders_words(tried, poison, said):
    for protocol in ("http", "grpc"):
        hop, judge = tried[protocol]
        before = len(hop.received)
        batch = [record(str(number)) for number in range(511)]
        batch.insert(300, poison)

        outcome = judge(batch)

        assert outcome.kind is Outcome.REJECTED
        assert outcome.reason.startswith("cannot be encoded: ")
        assert said in outcome.reason
        assert len(hop.received) == before
        batch.remove(poison)
        assert judge(batch) == DELIVERED


@pytest.mark.usefixtures("noisy")
def test_a_batch_above_the_exporters_own_limit_is_too_large(http_hop):
    judge = attempt_through(exporter_to(http_hop, max_request_size=1000))

    outcome = judge([record("a", "x" * 2000)])

    assert outcome.kind is Outcome.TOO_LARGE
    assert "max_request_size of 1000" in outcome.reason
    assert http_hop.received == []
    assert judge(BATCH) == DELIVERED


@pytest.mark.usefixtures("noisy")
def test_what_grpc_cannot_serialize_inside_the_call_is_refused(monkeypatch):
    class Unwritable:
        def SerializeToString(self):  # noqa: N802
            raise ValueError("nested too deep")

    with ScriptedGRPC() as hop:
        exporter = exporter_to(hop)
        monkeypatch.setattr(exporter, "_translate_data", lambda data: Unwritable())

        outcome = attempt_through(exporter)(BATCH)

    assert outcome == ExportOutcome(Outcome.REJECTED, "cannot be encoded: nested too deep")
    assert hop.received == []
