"""A next hop that comes and goes is delivered to when it comes, whatever the pauses have grown to."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.delivering import DOWN, TAKEN, Bench, Clock, Hop
from tests.support.scripted import Answer, ScriptedGRPC, ScriptedHTTP
from wakelog.delivery import ExportOutcome, Outcome, address_of, is_listening
from wakelog.delivery._circuit import CHECK_SECONDS, LONGEST_DELAY, Circuit
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._http_answers import outcome_of_error

HOST = "127.0.0.1"
REFUSED = ExportOutcome(Outcome.RETRYABLE, "refuses connections", refused_at=(HOST, 4318))
CLOSED = ExportOutcome(Outcome.RETRYABLE, "closed the connection", closed=True)


def longest(_: float, most: float) -> float:
    return most


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_the_first_record_arrives_right_after_the_next_hop_is_back_every_time(tmp_path, kind):
    server: Any = ScriptedHTTP() if kind == "http" else ScriptedGRPC()
    exporter: Any
    if kind == "http":
        exporter = HTTPExporter(endpoint=server.logs_endpoint)
    else:
        exporter = GRPCExporter(endpoint=server.endpoint, insecure=True)
    processor = DurableLogRecordProcessor(exporter, directory=tmp_path, schedule_delay_millis=50)
    delivery = processor._delivery
    assert delivery is not None
    delivery._circuit._choose = longest
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    log = provider.get_logger("test")
    expected = 0

    for cycle in range(3):
        # Attempts are hurried until the pause between two of them is the longest there is.
        log.emit(body=f"while it is down {cycle}")
        for _ in range(200):
            if delivery._circuit.failures > 7:
                break
            processor.force_flush(20)
        assert delivery._circuit.pause() > LONGEST_DELAY / 2
        expected += 1
        with server:
            # Far below the pause, and far above the second in which the next hop is looked for.
            assert len(set(server.wait_for_uids(expected, timeout=12))) == expected
            log.emit(body=f"while it is up {cycle}")
            expected += 1
            assert len(set(server.wait_for_uids(expected, timeout=12))) == expected

    processor.shutdown()


def test_a_refused_connection_is_looked_for_once_a_second_and_tried_when_it_listens():
    clock, asked, back = Clock(), [], False

    def listens(address: tuple[str, int]) -> bool:
        asked.append((clock.now, address))
        return back

    circuit = Circuit(clock, longest, listens)
    for _ in range(8):
        circuit.failed(refused_at=(HOST, 4318))
    began = clock.now

    for _ in range(50):
        clock.now += circuit.check_port()
        if len(asked) == 4:
            back = True
        if circuit.check_port() == 0:
            break

    assert [now - began for now, _ in asked] == [CHECK_SECONDS * n for n in range(1, 6)]
    assert {address for _, address in asked} == {(HOST, 4318)}
    assert circuit.failing


def test_what_the_next_hop_asks_for_is_kept_though_it_listens():
    clock = Clock()
    circuit = Circuit(clock, longest, lambda _: True)
    circuit.failed(retry_after=60)
    circuit.failed(refused_at=(HOST, 4318))

    clock.now += 2

    assert circuit.check_port() == pytest.approx(58)


@pytest.mark.parametrize("outcome", [DOWN, ExportOutcome(Outcome.RETRYABLE, "answered 503", 5.0)])
def test_no_look_where_nobody_refused_a_connection(outcome):
    clock = Clock()

    def listens(_: tuple[str, int]) -> bool:
        raise AssertionError("nobody was to look")

    circuit = Circuit(clock, longest, listens)
    circuit.failed(refused_at=(HOST, 4318))
    circuit.failed(outcome.retry_after, refused_at=outcome.refused_at, closed=outcome.closed)

    clock.now += 0.9
    assert circuit.check_port() > 0


def test_a_connection_that_went_stale_is_replaced_at_once(tmp_path):
    answers = iter([TAKEN, CLOSED, TAKEN])
    hop = Hop(lambda _: next(answers))
    bench = Bench(tmp_path, hop)
    bench.record("one")
    bench.step(2)
    bench.record("two")
    began = bench.clock.now

    bench.step(2)

    assert hop.batches == [["one"], ["two"], ["two"]]
    assert bench.clock.now - began < 0.1 + bench.delivery.step()


def test_a_next_hop_that_closes_every_connection_is_left_alone_after_the_second():
    circuit = Circuit(Clock(), longest)

    circuit.failed(closed=True)
    assert circuit.check_port() == 0
    circuit.failed(closed=True)
    assert circuit.check_port() == 1.0


def test_a_real_server_that_closes_idle_connections_costs_no_pause(tmp_path):
    with ScriptedHTTP() as server:
        processor = DurableLogRecordProcessor(
            HTTPExporter(endpoint=server.logs_endpoint), directory=tmp_path
        )
        delivery = processor._delivery
        assert delivery is not None
        delivery._circuit._choose = longest
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        log = provider.get_logger("test")
        log.emit(body="one")
        assert processor.force_flush()
        server.answer(Answer(fault="close"))

        log.emit(body="two")

        assert processor.force_flush()
        assert len(server.wait_for_requests(3)) == 3
        processor.shutdown()


@pytest.mark.parametrize(
    "url, address",
    [
        ("http://collector:4318/v1/logs", ("collector", 4318)),
        ("https://user:secret@collector/v1/logs", ("collector", 443)),
        ("http://[::1]:4318", ("::1", 4318)),
        ("collector:4317", ("collector", 4317)),
        ("unix:/run/otel.sock", None),
        ("dns:///collector", None),
        ("http://collector:port", None),
        ("", None),
    ],
)
def test_where_to_look_is_read_from_the_endpoint(url, address):
    assert address_of(url) == address


def test_behind_a_proxy_nobody_looks():
    import requests

    refused = ConnectionRefusedError(111, "Connection refused")
    direct = requests.exceptions.ConnectionError(refused)
    proxied = requests.exceptions.ProxyError(refused)

    assert outcome_of_error("http://collector:4318", direct, None).refused_at == ("collector", 4318)
    assert outcome_of_error("http://collector:4318", proxied, None).refused_at is None


def test_a_look_costs_the_listener_a_connection_and_no_byte():
    with socket.create_server((HOST, 0)) as listener:
        address = listener.getsockname()

        assert is_listening(address)

        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b""
    with contextlib.closing(socket.socket()):
        assert not is_listening(address)
