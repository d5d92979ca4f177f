"""An export attempt is judged by what the next hop answered, once, and says so in plain words."""

from __future__ import annotations

import json
import re
from http import HTTPStatus

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter

from tests.conftest import ROOT
from tests.support.export_attempts import (
    BATCH,
    DELIVERED,
    exporter_to,
    hop,
    http_hop,
    noisy,
    nothing_is_logged,
    record,
    tried,
)
from tests.support.scripted import Answer, ScriptedGRPC, http_date
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.otel import _grpc_answers, _http_answers
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._response_capture import LONGEST_RETRY_AFTER

__all__ = ["hop", "http_hop", "noisy", "nothing_is_logged", "tried"]


DOCS = ROOT / "docs" / "delivery.md"


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
