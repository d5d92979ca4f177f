"""An export attempt is judged by what the next hop answered, once, and says so in plain words."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from http import HTTPStatus
from typing import Any

import grpc
import pytest
import requests
from google.protobuf.message import EncodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from tests.conftest import ROOT
from tests.support.scripted import (
    ACCEPT,
    BAD_REQUEST,
    CLOSE,
    HANG,
    RESET,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    Scripted,
    ScriptedGRPC,
    ScriptedHTTP,
    http_date,
)
from wakelog.delivery import ExportOutcome, Outcome, is_suppressed
from wakelog.otel import _grpc_answers, _http_answers
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._exporters import log_exporter
from wakelog.otel._response_capture import LONGEST_RETRY_AFTER, CapturedAttempt, ExportAttempt

DOCS = ROOT / "docs" / "delivery.md"
TLS = ROOT / "tests" / "support" / "tls"
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
UIDS = ["a", "b", "c"]


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
def _nothing_is_logged(caplog, request):
    """No library has anything to say while we export: Wakelog says it, once."""
    caplog.set_level(logging.INFO)
    for protocol in ("http._log_exporter", "grpc.exporter"):
        for known in logging.getLogger(f"opentelemetry.exporter.otlp.proto.{protocol}").filters:
            vars(known).clear()  # what a test before this one made it say is said again
    yield
    if "noisy" not in request.fixturenames:
        assert [(r.name, r.getMessage()) for r in caplog.get_records("call")] == []


# --- The table in the documentation -------------------------------------------------------------


def table(protocol: str) -> list[tuple[str, str]]:
    """The rows of a table in docs/delivery.md: what was answered, and the outcome."""
    section = re.search(
        rf"<!-- verdicts: {protocol} -->(.*?)<!-- end -->", DOCS.read_text(), re.DOTALL
    )
    assert section, f"docs/delivery.md has no table of verdicts for {protocol}"
    rows = [row.strip("|").split("|") for row in section[1].strip().splitlines()[2:]]
    return [(answer.strip(), outcome.strip()) for answer, outcome, *_ in rows]


def documented(protocol: str, pattern: str) -> dict[str, str]:
    return {
        name: outcome for answer, outcome in table(protocol) for name in re.findall(pattern, answer)
    }


STATUSES = documented("http", r"`(\d{3})`")
CODES = documented("grpc", r"`([A-Z_]+)`")
WORDS = {
    "delivered": Outcome.DELIVERED,
    "pending": Outcome.RETRYABLE,
    "refused": Outcome.REJECTED,
    "too large": Outcome.TOO_LARGE,
}


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_every_status_in_the_table_has_the_verdict_that_the_table_says(tried, status):
    hop, judge = tried["http"]
    before = len(hop.received)
    hop.answer(Answer(status=int(status), message="what it says"))

    outcome = judge(BATCH)

    assert outcome.kind is WORDS[STATUSES[status]]
    assert len(hop.received) == before + 1
    if int(status) >= 300:
        assert outcome.reason.startswith(f"{hop.logs_endpoint} answered {status} ")
        if status != "304":  # has no body
            assert "what it says" in outcome.reason


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_in_the_table_has_the_verdict_that_the_table_says(tried, code):
    hop, judge = tried["grpc"]
    before = len(hop.received)
    hop.answer(Answer(code=grpc.StatusCode[code], message="what it says"))

    outcome = judge(BATCH)

    assert outcome.kind is WORDS[CODES[code]]
    assert len(hop.received) == before + 1
    if code != "OK":
        assert f"127.0.0.1:{hop.port} (gRPC) answered {code}: what it says" in outcome.reason


def test_the_tables_leave_no_answer_out():
    named = {int(status) for status in STATUSES}
    others = {s.value for s in HTTPStatus if s.value >= 300} - named
    judged = {
        status: _http_answers.outcome_of_status("http://hop", status, {}, b"", 1).kind
        for status in (*others, 299, 399, 420, 499, 599, 600)
    }
    expected = {
        status: Outcome.DELIVERED
        if status < 300
        else Outcome.REJECTED
        if 400 <= status < 500
        else Outcome.RETRYABLE
        for status in judged
    }

    assert judged == expected
    assert set(CODES) == {code.name for code in grpc.StatusCode}
    assert {outcome for p in ("http", "grpc") for _, outcome in table(p)} == set(WORDS)


# --- Success ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rejected", [0, 1, 3])
def test_what_a_success_rejects_is_read(hop, rejected):
    hop.answer(Answer(rejected=rejected, message="too old"))

    outcome = attempt_through(exporter_to(hop))(BATCH)

    assert (outcome.kind, outcome.rejected) == (Outcome.DELIVERED, rejected)
    if rejected:
        assert outcome.reason.endswith(f"rejected {rejected} of 3 records: too old")
    else:
        assert outcome.reason == "too old"


@pytest.mark.parametrize("claimed, counted", [(4, 3), (2**62, 3), (-1, 0)])
def test_no_more_records_are_rejected_than_were_sent(hop, claimed, counted):
    hop.answer(Answer(rejected=claimed))

    outcome = attempt_through(exporter_to(hop))(BATCH)

    assert (outcome.kind, outcome.rejected) == (Outcome.DELIVERED, counted)


@pytest.mark.parametrize(
    "kind, body",
    [
        ("", b""),
        ("text/plain", b"\r\n"),
        ("text/plain", b"OK"),
        ("text/plain; charset=utf-8", "danke schön".encode()),
        ("", b"accepted"),
        ("application/json", b"{}"),
        ("application/json", b'{"status":"queued","id":7}'),
        ("application/json", b'{"partialSuccess":{}}'),
        ("application/json", b"[]"),
    ],
)
def test_a_gateway_that_accepts_in_its_own_words_has_accepted(tried, kind, body):
    hop, judge = tried["http"]
    hop.answer(Answer(body=body, headers={"Content-Type": kind}))

    assert judge(BATCH) == DELIVERED


def test_a_rejection_is_read_from_json_too(http_hop):
    body = {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "too old"}}
    http_hop.answer(
        Answer(body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    )

    outcome = attempt_through(exporter_to(http_hop))(BATCH)

    assert (outcome.kind, outcome.rejected) == (Outcome.DELIVERED, 2)
    assert outcome.reason.endswith("rejected 2 of 3 records: too old")


@pytest.mark.parametrize(
    "kind, body, said",
    [
        ("application/x-protobuf", b"\xff\xfe\x00 no message", "cannot be read"),
        ("application/x-protobuf", Answer(rejected=3, message="gone").content()[:-2], "cannot be"),
        ("application/x-protobuf", b"OK", "cannot be read"),
        ("", b"\x00\x01\x02\xff", "cannot be read"),
        ("application/json", b"\x89PNG\r\n", "cannot be read"),
        ("text/html", b"<!doctype html><title>Sign in</title>", "web page"),
        ("text/plain", b"\n <html>Sign in</html>", "web page"),
        ("application/json", b"\xef\xbb\xbf<html>", "web page"),
    ],
)
def test_a_success_that_no_receiver_of_logs_gives_proves_nothing(tried, kind, body, said):
    hop, judge = tried["http"]
    hop.answer(Answer(body=body, headers={"Content-Type": kind}))

    outcome = judge(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert said in outcome.reason
    assert outcome.reason.startswith(f"{hop.logs_endpoint} answered 200 (OK), but ")


@pytest.mark.usefixtures("noisy")  # gRPC itself says that it cannot read or write
def test_a_response_over_grpc_that_cannot_be_read_proves_nothing(tried):
    hop, judge = tried["grpc"]
    hop.answer(Answer(body=b"\xff\xfe\x00 no message"))

    outcome = judge(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert "answered OK, but what it said cannot be read" in outcome.reason


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_a_delivery(http_hop, status):
    to = f"http://ann:secret@127.0.0.1:{http_hop.port}/elsewhere?token=secret"
    http_hop.answer(Answer(status=status, headers={"Location": to}))

    outcome = attempt_through(exporter_to(http_hop))(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert f"answered {status} " in outcome.reason
    assert f"(http://127.0.0.1:{http_hop.port}/elsewhere)" in outcome.reason
    assert "secret" not in outcome.reason
    assert len(http_hop.received) == 1


@pytest.mark.parametrize(
    "kind, body, said",
    [
        ("application/json", b'{"message":"bad\\nrecord"}', "(Bad Request): bad record"),
        ("application/json", b'{"error":"bad"}', "(Bad Request): bad"),
        ("application/json", b'{"code":7}', '(Bad Request): {"code":7}'),
        ("text/plain", b"bad", "(Bad Request): bad"),
        ("text/plain", b"x" * 1000, "(Bad Request): " + "x" * 300 + "…"),
        ("text/html", b"<html>bad</html>", "(Bad Request)"),
        ("application/x-protobuf", b"\xff\xff", "(Bad Request)"),
        ("", b"", "(Bad Request)"),
    ],
)
def test_a_reason_is_what_the_next_hop_says_on_one_line(tried, kind, body, said):
    hop, judge = tried["http"]
    hop.answer(Answer(status=400, body=body, headers={"Content-Type": kind}))

    assert judge(BATCH) == ExportOutcome(
        Outcome.REJECTED, f"{hop.logs_endpoint} answered 400 {said}"
    )


@pytest.mark.parametrize(
    "answer, hint",
    [
        (Answer(status=401, code=grpc.StatusCode.UNAUTHENTICATED), "credentials"),
        (Answer(status=403, code=grpc.StatusCode.PERMISSION_DENIED), "credentials"),
        (Answer(status=404, code=grpc.StatusCode.UNIMPLEMENTED), "check the"),
        (Answer(status=405, code=grpc.StatusCode.NOT_FOUND), "check the"),
    ],
)
def test_a_wrong_setting_is_no_records_fault_and_says_what_to_check(hop, answer, hint):
    hop.answer(answer)

    outcome = attempt_through(exporter_to(hop))(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert hint in outcome.reason
    assert f"127.0.0.1:{hop.port}" in outcome.reason


@pytest.mark.parametrize(
    "code, words",
    [
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (9 vs. 4)"),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (9 vs. 4)"),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4: 9"),
        ("RESOURCE_EXHAUSTED", "Received message exceeds the maximum configured message size."),
        ("OUT_OF_RANGE", "Error, decoded message length too large: found 9 bytes, the limit is 4"),
        ("UNKNOWN", "Received http2 header with status: 413"),
    ],
)
def test_every_servers_words_for_too_large_are_known(tried, code, words):
    hop, judge = tried["grpc"]
    hop.answer(Answer(code=grpc.StatusCode[code], message=words))

    assert judge(BATCH).kind is Outcome.TOO_LARGE


def test_a_message_above_the_limit_of_a_real_grpc_server_is_too_large():
    with ScriptedGRPC() as hop:
        outcome = attempt_through(exporter_to(hop))([record("a", "x" * 5_000_000)])

    assert outcome.kind is Outcome.TOO_LARGE
    assert "larger than max" in outcome.reason
    assert hop.received == []


def test_what_is_too_large_for_the_real_collector_is_too_large(collector):
    over_http = attempt_through(
        HTTPExporter(endpoint=f"{collector.http_endpoint}/v1/logs", timeout=60)
    )
    over_grpc = attempt_through(GRPCExporter(endpoint=collector.grpc_endpoint, timeout=60))

    verdicts = [
        over_http([record("a", "x" * 21_000_000)]),
        over_grpc([record("b", "x" * 5_000_000)]),
    ]

    assert [outcome.kind for outcome in verdicts] == [Outcome.TOO_LARGE] * 2
    assert over_http([record("c")]) == over_grpc([record("d")]) == DELIVERED
    assert {log.uid for log in collector.wait_for_logs(2)} == {"c", "d"}


# --- Patience -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_obeyed_in_seconds(http_hop, status):
    http_hop.answer(Answer(status=status, retry_after=70))

    outcome = attempt_through(exporter_to(http_hop))(BATCH)

    assert (outcome.kind, outcome.retry_after) == (Outcome.RETRYABLE, 70)


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
@pytest.mark.parametrize("seconds", [70, 0.25])
def test_retry_info_is_obeyed(tried, code, seconds):
    hop, judge = tried["grpc"]
    hop.answer(Answer(code=grpc.StatusCode[code], retry_after=seconds))

    outcome = judge(BATCH)

    assert (outcome.kind, outcome.retry_after) == (Outcome.RETRYABLE, seconds)


def test_retry_after_is_a_date_by_the_clock_of_the_one_who_answered():
    wrong = 86_400.0  # its clock is a day ahead of ours
    headers = {"date": http_date(wrong), "retry-after": http_date(wrong + 90)}

    outcome = _http_answers.outcome_of_status("http://hop", 503, headers, b"", 1)

    assert outcome.retry_after == pytest.approx(90, abs=1)


def test_retry_after_is_a_date_by_our_clock_when_there_is_no_other():
    headers = {"Retry-After": http_date(90)}

    outcome = _http_answers.outcome_of_status("http://hop", 503, headers, b"", 1)

    assert outcome.retry_after is not None
    assert 60 < outcome.retry_after <= 90  # the time that this test may take


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("soon", None),
        ("²", None),
        ("", None),
        ("Wed, 99 Nov 2026 00:00:00 GMT", None),
        ("Wed, 01 Jan 1997 00:00:00 GMT", None),
        ("86400", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        (" 7 ", 7),
        ("0.5", 0.5),
    ],
)
def test_what_is_no_sane_wait_is_no_wait_and_none_is_longer_than_an_hour(value, seconds):
    outcome = _http_answers.outcome_of_status("http://hop", 503, {"Retry-After": value}, b"", 1)

    assert outcome.retry_after == seconds


@pytest.mark.parametrize(
    "seconds, expected", [(0, None), (-5, None), (7, 7), (10**9, LONGEST_RETRY_AFTER)]
)
def test_no_wait_over_grpc_is_insane_either(seconds, expected):
    info = RetryInfo()
    info.retry_delay.seconds = seconds
    trailing = [
        ("grpc-status-details-bin", b"\xff garbage"),
        ("other", "text"),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    ]

    outcome = _grpc_answers.outcome_of_code("hop:1", grpc.StatusCode.UNAVAILABLE, "", trailing)

    assert outcome == ExportOutcome(
        Outcome.RETRYABLE, "hop:1 (gRPC) answered UNAVAILABLE", retry_after=expected
    )


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


def connected_again(judge: ExportAttempt) -> ExportOutcome:
    """Return the first outcome of an attempt that is made over a new connection.

    Over gRPC an attempt right after a broken one may still be given to the connection that has broken.
    """
    deadline = time.monotonic() + 60
    while (outcome := judge(BATCH)).kind is Outcome.RETRYABLE:
        assert time.monotonic() < deadline, outcome.reason
    return outcome


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


# --- What the exporter was told -----------------------------------------------------------------


def made_from_environment(hop: Scripted, monkeypatch: pytest.MonkeyPatch) -> LogRecordExporter:
    """The exporter that `configure()` makes."""
    protocol = "http/protobuf" if isinstance(hop, ScriptedHTTP) else "grpc"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hop.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    exporter = log_exporter()
    assert exporter is not None
    return exporter


def test_an_exporter_that_configure_makes_is_judged_by_the_answer(hop, monkeypatch):
    judge = attempt_through(made_from_environment(hop, monkeypatch))
    hop.answer(ACCEPT, BAD_REQUEST, TOO_LARGE, UNAVAILABLE, RESET, Answer(rejected=2), ACCEPT)

    verdicts = [judge(BATCH) for _ in range(5)]
    verdicts += [connected_again(judge), judge(BATCH)]

    assert [outcome.kind for outcome in verdicts] == [
        Outcome.DELIVERED,
        Outcome.REJECTED,
        Outcome.TOO_LARGE,
        Outcome.RETRYABLE,
        Outcome.RETRYABLE,
        Outcome.DELIVERED,
        Outcome.DELIVERED,
    ]
    assert [outcome.rejected for outcome in verdicts] == [0, 0, 0, 0, 0, 2, 0]
    assert len(hop.received) == 7


def test_what_the_environment_says_of_the_exporter_keeps_its_meaning(hop, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")
    judge = attempt_through(made_from_environment(hop, monkeypatch))

    assert judge(BATCH) == DELIVERED
    headers = hop.received[0].headers
    assert headers["x-tenant"] == "blue"
    assert "OTel-OTLP-Exporter-Python" in headers["user-agent"]
    if isinstance(hop, ScriptedHTTP):
        assert headers["content-encoding"] == "gzip"


def test_the_time_out_of_the_environment_keeps_its_meaning(hop, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(SHORT))
    hop.always = HANG

    outcome = attempt_through(made_from_environment(hop, monkeypatch))(BATCH)

    assert re.search(IN_TIME, outcome.reason)


def test_gzip_and_headers_of_the_users_exporter_are_kept():
    with ScriptedHTTP() as hop:
        exporter = exporter_to(hop, compression=Compression.Gzip, headers={"X-Tenant": "blue"})
        assert attempt_through(exporter)([record("a", "x" * 10_000)]) == DELIVERED

    (request,) = hop.received
    assert request.size < 1000
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["x-tenant"] == "blue"
    assert request.uids == ["a"]


def test_options_of_the_users_channel_are_kept_also_after_reconnecting():
    options = (("grpc.max_send_message_length", 1000), ("grpc.primary_user_agent", "mine"))
    with ScriptedGRPC() as hop:
        exporter = exporter_to(
            hop,
            channel_options=options,
            compression=grpc.Compression.Gzip,
            headers=(("x-tenant", "blue"),),
        )
        judge = attempt_through(exporter)
        hop.answer(UNAVAILABLE)
        assert judge(BATCH).kind is Outcome.RETRYABLE

        assert judge(BATCH) == DELIVERED
        incompressible = os.urandom(2000).hex()
        assert judge([record("a", incompressible)]).kind is Outcome.TOO_LARGE

    last = hop.received[-1].headers
    assert last["x-tenant"] == "blue"
    assert last["user-agent"].startswith("mine")


class _Login(requests.Session):
    """A session that looks at the answer and tries again with a token, as some do."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        answer = super().request(*args, **options)
        if answer.status_code == 401:
            self.headers["Authorization"] = "Bearer fresh"
            answer = super().request(*args, **options)
        return answer


class _Counting(requests.adapters.HTTPAdapter):
    sent = 0

    def send(self, *args: Any, **options: Any) -> requests.Response:
        type(self).sent += 1
        return super().send(*args, **options)


def test_the_users_session_with_its_adapters_and_its_login_is_kept(http_hop):
    session = _Login()
    session.mount("http://", _Counting())
    session.auth = ("ann", "secret")
    judge = attempt_through(exporter_to(http_hop, session=session))
    http_hop.answer(Answer(status=401))

    assert judge(BATCH) == DELIVERED
    assert [r.headers["authorization"][:6] for r in http_hop.received] == ["Basic ", "Basic "]
    assert _Counting.sent == 2


def test_who_else_uses_the_exporter_gets_the_answers_as_they_are(hop, caplog):
    exporter = exporter_to(hop)
    judge = attempt_through(exporter)
    hop.answer(BAD_REQUEST, ACCEPT, BAD_REQUEST)

    assert exporter.export(BATCH) is LogRecordExportResult.FAILURE
    assert exporter.export(BATCH) is LogRecordExportResult.SUCCESS
    caplog.clear()
    assert judge(BATCH).kind is Outcome.REJECTED


def test_two_judges_may_listen_to_one_exporter_in_two_threads(hop):
    exporter = exporter_to(hop)
    judges = [attempt_through(exporter), attempt_through(exporter)]
    hop.always = lambda request: BAD_REQUEST if "bad" in request.uids else ACCEPT
    seen: list[tuple[str, Outcome]] = []

    def export(judge: ExportAttempt, uid: str) -> None:
        for _ in range(20):
            seen.append((uid, judge([record(uid)]).kind))  # noqa: PERF401

    threads = [
        threading.Thread(target=export, args=pair)
        for pair in zip(judges, ("good", "bad"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(set(seen), key=str) == [("bad", Outcome.REJECTED), ("good", Outcome.DELIVERED)]
    assert len(hop.received) == 40


def test_shutting_down_does_not_wait_for_an_attempt_that_hangs(hop):
    exporter = exporter_to(hop, timeout=60)
    judge = attempt_through(exporter)
    hop.answer(HANG)
    verdicts: list[ExportOutcome] = []
    attempt = threading.Thread(target=lambda: verdicts.append(judge(BATCH)))
    attempt.start()
    hop.wait_for_requests(1)

    exporter.shutdown()  # returns, though nothing has answered
    hop.stop()
    attempt.join(60)

    assert [outcome.kind for outcome in verdicts] == [Outcome.RETRYABLE]


@pytest.mark.usefixtures("noisy")
def test_after_shutdown_everything_stays_pending(hop):
    exporter = exporter_to(hop)
    judge = attempt_through(exporter)
    exporter.shutdown()

    outcome = judge(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert "shut down" in outcome.reason
    assert hop.received == []


FORKING = """
import os, sys
from tests.delivery.test_export_outcomes import BATCH, exporter_for, record
from wakelog.otel._export_attempt import attempt_through

judge = attempt_through(exporter_for(*sys.argv[1:]))
assert judge([record("parent")]).kind.name == "DELIVERED"
child = os.fork()
if child == 0:
    os._exit(0 if judge([record("child")]).kind.name == "DELIVERED" else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert judge([record("parent")]).kind.name == "DELIVERED"
"""


def exporter_for(protocol: str, endpoint: str) -> LogRecordExporter:
    if protocol == "http":
        return HTTPExporter(endpoint=f"{endpoint}/v1/logs", timeout=30)
    return GRPCExporter(endpoint=endpoint, timeout=30)


def test_a_forked_child_does_not_share_its_parents_connection(http_hop):
    hop, protocol = http_hop, "http"
    subprocess.run(
        [sys.executable, "-c", FORKING, protocol, hop.endpoint],
        check=True,
        timeout=100,
        cwd=ROOT,
    )

    connections = {request.uids[0]: request.peer for request in hop.received}
    assert [request.uids for request in hop.received] == [["parent"], ["child"], ["parent"]]
    assert hop.received[0].peer == hop.received[2].peer
    assert connections["child"] != connections["parent"]


# --- Private names ------------------------------------------------------------------------------


def test_the_exporters_still_have_the_places_where_we_listen():
    """Fails when a new version of the SDK has renamed what the drop-in needs.

    Then `_http_answers.listen` or `_grpc_answers.listen` has to learn the new names; until it has,
    what the exporter reports is believed, and a redirect counts as delivered.
    """
    http, over_grpc = HTTPExporter(), GRPCExporter(insecure=True)

    assert callable(http._client._transport.request)
    assert all(hasattr(over_grpc, name) for name in _grpc_answers._NEEDED)
    assert isinstance(attempt_through(http), CapturedAttempt)
    assert isinstance(attempt_through(over_grpc), CapturedAttempt)
    assert isinstance(http._client._transport, _http_answers._CapturingTransport)
    assert isinstance(over_grpc._client, _grpc_answers._CapturingStub)


def test_the_session_of_an_exporter_of_ours_needs_no_private_name(http_hop, monkeypatch):
    exporter = made_from_environment(http_hop, monkeypatch)
    before = exporter._client._transport  # type: ignore[attr-defined]
    http_hop.answer(Answer(status=302))

    assert attempt_through(exporter)(BATCH).kind is Outcome.RETRYABLE
    assert exporter._client._transport is before  # type: ignore[attr-defined]


def test_a_session_that_the_environment_names_is_not_replaced(http_hop, monkeypatch):
    session = _Login()

    class EntryPoint:
        def load(self):
            return lambda: session

    monkeypatch.setattr(
        "opentelemetry.exporter.otlp.proto.http._common.entry_points",
        lambda **_: [EntryPoint()],
    )
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "mine")
    http_hop.answer(Answer(status=401), Answer(status=400))

    outcome = attempt_through(made_from_environment(http_hop, monkeypatch))(BATCH)

    assert outcome.kind is Outcome.REJECTED
    assert http_hop.received[1].headers["authorization"] == "Bearer fresh"


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("kind, name", [("http", "_transport"), ("grpc", "_stub")])
def test_an_exporter_without_such_a_place_is_believed_and_that_is_said(caplog, kind, name):
    hop: Scripted = ScriptedHTTP() if kind == "http" else ScriptedGRPC()
    exporter: Any = exporter_to(hop)
    if kind == "http":
        exporter._client.request = exporter._client._transport.request
        exporter._client._submit = lambda data, timeout: exporter._client.request(
            "POST", hop.endpoint, data=data, timeout=timeout
        )
        del exporter._client._transport
    else:
        del exporter._stub

    with hop:
        judge = attempt_through(exporter)
        hop.answer(ACCEPT, BAD_REQUEST)

        assert judge(BATCH) == DELIVERED
        assert judge(BATCH) == ExportOutcome(
            Outcome.RETRYABLE, "OTLPLogExporter reported a failure"
        )
    assert "cannot be listened to" in caplog.text


# --- Any other exporter -------------------------------------------------------------------------


class _Other(LogRecordExporter):
    def __init__(self, result: Any) -> None:
        self.result, self.quiet = result, False

    def export(self, batch: Any) -> Any:
        self.quiet = is_suppressed()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def test_any_exporters_success_is_delivery():
    exporter = InMemoryLogRecordExporter()

    assert attempt_through(exporter)(BATCH) == DELIVERED
    assert len(exporter.get_finished_logs()) == 3


class Deprecated(enum.Enum):
    """As LogExportResult is, which warns where it is named."""

    SUCCESS = 0
    FAILURE = 1


@pytest.mark.parametrize("result", [Deprecated.SUCCESS, SpanExportResult.SUCCESS])
def test_a_success_of_another_enum_is_what_its_name_says(result: Any) -> None:
    assert attempt_through(_Other(result))(BATCH) == DELIVERED


def test_none_without_an_exception_is_delivery_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    judge = attempt_through(_Other(None))

    assert [judge(BATCH) for _ in range(3)] == [DELIVERED] * 3
    assert ["_Other.export() returns None" in message for message in caplog.messages] == [True]
    caplog.clear()


@pytest.mark.parametrize(
    "result, said",
    [
        (LogRecordExportResult.FAILURE, "_Other reported a failure"),
        (Deprecated.FAILURE, "_Other reported a failure"),
        (SpanExportResult.FAILURE, "_Other reported a failure"),
        (True, "_Other returned True, not LogRecordExportResult.SUCCESS"),
        (0, "_Other returned 0, not LogRecordExportResult.SUCCESS"),
        (OSError("no route"), "_Other raised OSError: no route"),
        (RuntimeError(), "_Other raised RuntimeError"),
        (ValueError("odd"), "_Other raised ValueError: odd"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), "_Other raised UnicodeDecodeError"),
        (KeyError("x"), "_Other raised KeyError: 'x'"),
        (json.JSONDecodeError("not JSON", "<html>", 0), "_Other raised JSONDecodeError: not JSON"),
        (ssl.SSLCertVerificationError("bad"), "_Other raised SSLCertVerificationError"),
        (requests.exceptions.InvalidURL("bad"), "_Other raised InvalidURL: bad"),
        (requests.exceptions.JSONDecodeError("x", "", 0), "_Other raised JSONDecodeError"),
    ],
)
def test_what_is_not_success_is_pending(result, said):
    exporter = _Other(result)

    outcome = attempt_through(exporter)(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert outcome.reason.startswith(said)
    assert exporter.quiet


def test_a_span_exporter_is_told_which_result_is_its_own():
    class OfSpans(SpanExporter):
        def export(self, spans):
            return True

    outcome = attempt_through(OfSpans())(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert outcome.reason == "OfSpans returned True, not SpanExportResult.SUCCESS"


ENDINGS = [asyncio.CancelledError(), GeneratorExit(), SystemExit(3)]


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_what_would_end_our_thread_is_pending_there_and_passes_in_the_main_thread(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = HTTPExporter(endpoint="http://localhost:1/v1/logs")
    official = attempt_through(exporter)
    monkeypatch.setattr(exporter, "export", _Other(error).export)
    said: list[ExportOutcome] = []

    for judge in (attempt_through(_Other(error)), official):
        thread = threading.Thread(target=lambda judge=judge: said.append(judge(BATCH)))
        thread.start()
        thread.join()
        with pytest.raises(type(error)):
            judge(BATCH)

    assert [outcome.kind for outcome in said] == [Outcome.RETRYABLE] * 2
    assert f"raised {type(error).__name__}" in said[0].reason
    assert f"raised {type(error).__name__}" in said[1].reason


class _UnprintableError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class _UnprintableAnswer:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("result", [_UnprintableError(), _UnprintableAnswer()])
def test_an_answer_without_a_text_is_named_by_its_type(result: object) -> None:
    outcome = attempt_through(_Other(result))(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
    assert type(result).__name__ in outcome.reason


def encode_error() -> Exception:
    try:
        "\ud83d".encode()
    except UnicodeEncodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        TypeError("Object of type object is not JSON serializable"),
        EncodeError("message is too deep"),
        OverflowError("int too big to convert"),
        RecursionError("maximum recursion depth exceeded"),
        encode_error(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_of_the_kinds_that_encoding_raises_blames_a_record(error):
    outcome = attempt_through(_Other(error))(BATCH)

    assert outcome.kind is Outcome.REJECTED
    assert str(error)[:20] in outcome.reason


def test_a_subclass_of_an_official_exporter_is_heard_too(hop):
    base: Any = type(exporter_to(hop))

    class Halving(base):  # type: ignore[misc]
        """Sends a batch in two requests."""

        def export(self, batch: Any) -> Any:
            super().export(batch[:1])
            return super().export(batch[1:])

    address = hop.logs_endpoint if isinstance(hop, ScriptedHTTP) else hop.endpoint
    judge = attempt_through(Halving(endpoint=address))
    hop.answer(ACCEPT, BAD_REQUEST, BAD_REQUEST, ACCEPT, Answer(rejected=1), Answer(rejected=1))

    first, second, third = judge(BATCH), judge(BATCH), judge(BATCH)

    assert first.kind is second.kind is Outcome.REJECTED
    assert (third.kind, third.rejected) == (Outcome.DELIVERED, 2)


def test_a_subclass_that_reports_a_failure_of_its_own_is_not_overruled(http_hop):
    class Doubtful(HTTPExporter):
        def export(self, batch: Any) -> Any:
            super().export(batch)
            return LogRecordExportResult.FAILURE

    outcome = attempt_through(Doubtful(endpoint=http_hop.logs_endpoint))(BATCH)

    assert outcome.kind is Outcome.RETRYABLE
