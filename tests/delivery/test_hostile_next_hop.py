"""An answer costs little memory, and its attempt ends in time, whatever the next hop sends."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
import requests
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCLogExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from requests.adapters import HTTPAdapter

from tests.conftest import ROOT
from tests.support.hostile_hop import DRIPS, FLOODS, HostileHop
from tests.support.programs import environment
from tests.support.scripted import Answer, ScriptedHTTP
from wakelog._bodies import LONGEST_BODY, Body
from wakelog.delivery import Outcome
from wakelog.otel import _bounded, _exporters
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._http_answers import outcome_of_status

SENDERS = ["wakelogs_own", "the_users", "spans", "metrics", "webhook"]
MOST_MB = 50
LATER = 0.5  # seconds after its time-out by which an attempt has ended
RECORD = ReadableLogRecord(LogRecord(body="hello"), Resource({}))


@pytest.fixture(scope="module")
def hop() -> Iterator[HostileHop]:
    with HostileHop() as hop:
        yield hop


def attempts(
    hop: HostileHop, sender: str, timeout: float, attacks: list[str]
) -> dict[str, dict[str, Any]]:
    """Make an attempt at each attack in a process of its own, after one that goes well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.attacked_program", sender, str(timeout)]
        + [hop.url(attack) for attack in ("well", *attacks)],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(attacks, told[1:], strict=True))


@pytest.mark.parametrize("sender", SENDERS)
def test_no_answer_fills_the_memory(hop: HostileHop, sender: str) -> None:
    told = attempts(hop, sender, 10, list(FLOODS))

    assert {name: one["grown"] for name, one in told.items() if one["grown"] >= MOST_MB} == {}
    assert {name: one["seconds"] for name, one in told.items() if one["seconds"] > 10} == {}


@pytest.mark.parametrize("sender", SENDERS)
def test_no_answer_holds_an_attempt_open_by_dripping(hop: HostileHop, sender: str) -> None:
    told = attempts(hop, sender, 0.5, list(DRIPS))

    assert {
        name: one["seconds"] for name, one in told.items() if one["seconds"] > 0.5 + LATER
    } == {}
    if sender in ("wakelogs_own", "the_users"):
        words = "did not answer within 0.5 s"
        assert {name for name, one in told.items() if words not in one["said"]} == set()


def test_a_flood_proves_no_delivery(hop: HostileHop) -> None:
    told = attempts(hop, "wakelogs_own", 10, list(FLOODS))

    assert {name for name, one in told.items() if not one["said"].startswith("RETRYABLE")} == set()
    assert "longer than 64 KiB" in told["gzip"]["said"]


class Echo(grpc.GenericRpcHandler):
    """Answers everything with so many zeros."""

    def __init__(self, size: int) -> None:
        self.size = size

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\0" * self.size)


@pytest.mark.parametrize("size", [LONGEST_BODY + 1, 20 << 20])
@pytest.mark.parametrize("packed", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("ours", [True, False])
def test_a_long_answer_over_grpc_is_not_taken_for_a_batch_that_is_too_large(
    monkeypatch: pytest.MonkeyPatch, size: int, packed: grpc.Compression, ours: bool
) -> None:
    workers = futures.ThreadPoolExecutor(1)
    server = grpc.server(workers, handlers=[Echo(size)], compression=packed)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        exporter = _exporters.log_exporter() if ours else GRPCLogExporter()
        assert exporter is not None
        outcome = attempt_through(exporter)([RECORD])
        exporter.shutdown()
    finally:
        server.stop(0).wait()
        workers.shutdown()

    assert outcome.kind is Outcome.RETRYABLE, outcome
    assert "too long to be read" in outcome.reason or "cannot be read" in outcome.reason


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "bare", "br"])
@pytest.mark.parametrize("size", [0, 1, LONGEST_BODY - 1, LONGEST_BODY, LONGEST_BODY + 1])
def test_a_body_is_kept_up_to_the_limit_and_not_a_byte_further(encoding: str, size: int) -> None:
    content = bytes(n * n % 251 for n in range(size))
    windows = {"gzip": 31, "deflate": 15, "bare": -15}
    sent = content
    if encoding in windows:
        packer = zlib.compressobj(9, zlib.DEFLATED, windows[encoding])
        sent = packer.compress(content) + packer.flush()
    body = Body("deflate" if encoding == "bare" else encoding)

    for at in range(0, len(sent), 777):
        if not body.add(sent[at : at + 777]):
            break

    assert bytes(body) == content[:LONGEST_BODY]
    assert body.cut == (size > LONGEST_BODY)


def test_a_connection_is_used_again_after_an_answer_that_was_read_whole() -> None:
    with ScriptedHTTP() as server, _bounded.BoundedSession() as session:
        for _ in range(3):
            session.post(f"{server.endpoint}/v1/logs", data=b"", timeout=5)
        assert len({request.peer for request in server.received}) == 1

        server.answer(Answer(body=b"\0" * (9 * LONGEST_BODY)))
        session.post(f"{server.endpoint}/v1/logs", data=b"", timeout=5)
        session.post(f"{server.endpoint}/v1/logs", data=b"", timeout=5)
        assert len({request.peer for request in server.received}) == 2


def test_a_request_that_is_not_taken_ends_in_time() -> None:
    with HostileHop() as hop, _bounded.BoundedSession() as session:
        hop.stop_reading()
        with pytest.raises(requests.exceptions.RequestException) as raised:
            session.post(hop.url("well"), data=b"\0" * (64 << 20), timeout=0.3)

    assert "timed out" in str(raised.value)


def test_a_users_session_keeps_adapters_of_its_own_and_its_answers_outside_of_attempts() -> None:
    class Own(HTTPAdapter):
        pass

    own, plain = Own(), HTTPAdapter(max_retries=7)
    session = requests.Session()
    session.mount("http://elsewhere", own)
    session.mount("http://", plain)
    with ScriptedHTTP() as server:
        outcome = attempt_through(OTLPLogExporter(f"{server.endpoint}/v1/logs", session=session))(
            [RECORD]
        )
        server.always = Answer(body=b"a" * (3 * LONGEST_BODY))
        answer = session.post(f"{server.endpoint}/v1/logs", data=b"", timeout=5)

    assert outcome.kind is Outcome.DELIVERED
    assert session.adapters["http://elsewhere"] is own
    bounded = session.adapters["http://"]
    assert isinstance(bounded, _bounded.BoundedAdapter)
    assert bounded.max_retries.total == 7
    assert len(answer.content) == 3 * LONGEST_BODY


def test_the_users_exporter_has_the_session_where_it_is_looked_for() -> None:
    transport: Any = OTLPLogExporter("http://127.0.0.1:1")._client._transport

    assert isinstance(transport._session, requests.Session)


def test_a_long_text_of_a_gateways_own_is_a_success_and_is_cut_between_characters() -> None:
    body = ("x" + "é" * LONGEST_BODY).encode()[:LONGEST_BODY]
    headers = {"Content-Type": "text/plain"}

    assert outcome_of_status("http://h", 200, headers, body, 1, cut=True).kind is Outcome.DELIVERED
    assert (
        outcome_of_status("http://h", 200, {}, b"\n\xff" * 9, 1, cut=True).kind is Outcome.RETRYABLE
    )
