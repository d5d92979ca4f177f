"""Export attempts through each kind of exporter keep its options, and what it says to others."""

from __future__ import annotations

import asyncio
import enum
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from typing import Any

import grpc
import pytest
import requests
from google.protobuf.message import EncodeError
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

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
)
from tests.support.scripted import (
    ACCEPT,
    BAD_REQUEST,
    HANG,
    RESET,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    Scripted,
    ScriptedGRPC,
    ScriptedHTTP,
)
from wakelog.delivery import ExportOutcome, Outcome, is_suppressed
from wakelog.otel import _grpc_answers, _http_answers
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._response_capture import CapturedAttempt, ExportAttempt

__all__ = ["hop", "http_hop", "noisy", "nothing_is_logged"]


# --- What the exporter was told -----------------------------------------------------------------


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
from tests.delivery.test_exporters import exporter_for
from tests.support.export_attempts import record
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
