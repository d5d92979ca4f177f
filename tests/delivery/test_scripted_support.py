"""The scripted next hop: it answers as told over both protocols, and comes back on its port."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from tests.support.scripted import (
    ACCEPT,
    BAD_REQUEST,
    HANG,
    RESET,
    UNAVAILABLE,
    Answer,
    Scripted,
    ScriptedGRPC,
    ScriptedHTTP,
)


def request_with(*uids: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for uid in uids:
        records.add().attributes.add(key="log.record.uid").value.string_value = uid
    return request


class _Client:
    """Sends one request in either protocol: an OTLP response, or the name of the trouble."""

    def __init__(self, hop: Scripted) -> None:
        self._grpc = isinstance(hop, ScriptedGRPC)
        self._hop = hop

    def send(self, *uids: str, timeout: float = 30.0) -> ExportLogsServiceResponse | str:
        if self._grpc:
            # A channel that shares connections waits a second after one was reset.
            alone = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"127.0.0.1:{self._hop.port}", alone) as channel:
                stub = LogsServiceStub(channel)
                try:
                    response: ExportLogsServiceResponse = stub.Export(
                        request_with(*uids), timeout=timeout
                    )
                except grpc.RpcError as error:
                    return str(error.code().name)
                return response
        try:
            answer = requests.post(
                f"{self._hop.endpoint}/v1/logs",
                request_with(*uids).SerializeToString(),
                timeout=timeout,
            )
        except requests.RequestException as error:
            return type(error).__name__
        if answer.status_code != 200:
            return str(answer.status_code)
        return ExportLogsServiceResponse.FromString(answer.content)


@pytest.fixture(params=["http", "grpc"])
def hop(request):
    with ScriptedHTTP() if request.param == "http" else ScriptedGRPC() as hop:
        yield hop


def test_it_answers_as_told_and_keeps_what_it_got(hop):
    hop.answer(ACCEPT, UNAVAILABLE, BAD_REQUEST, Answer(rejected=1, message="no room"))
    client = _Client(hop)

    answers = [client.send("a"), client.send("b"), client.send("c"), client.send("d", "e")]

    partial = ExportLogsServiceResponse()
    partial.partial_success.rejected_log_records = 1
    partial.partial_success.error_message = "no room"
    assert answers[0] == ExportLogsServiceResponse()
    assert answers[1] in ("503", "UNAVAILABLE")
    assert answers[2] in ("400", "INVALID_ARGUMENT")
    assert answers[3] == partial
    assert [request.uids for request in hop.received] == [["a"], ["b"], ["c"], ["d", "e"]]
    assert hop.uids() == ["a", "d", "e"]


def test_it_answers_by_what_is_in_the_request(hop):
    hop.always = lambda request: BAD_REQUEST if "bad" in request.uids else ACCEPT
    client = _Client(hop)

    assert client.send("good") == ExportLogsServiceResponse()
    assert client.send("good", "bad") in ("400", "INVALID_ARGUMENT")


def test_it_resets(hop):
    hop.answer(RESET)
    client = _Client(hop)

    assert client.send("a") in ("ChunkedEncodingError", "ConnectionError", "UNAVAILABLE")
    deadline = time.monotonic() + 60
    while (said := client.send("b")) == "UNAVAILABLE":  # gRPC has not noticed yet
        assert time.monotonic() < deadline
    assert said == ExportLogsServiceResponse()


def test_it_hangs_until_it_is_stopped(hop):
    hop.answer(HANG)
    client = _Client(hop)
    answers: list[ExportLogsServiceResponse | str] = []
    sending = threading.Thread(target=lambda: answers.append(client.send("a", timeout=90)))
    sending.start()

    hop.wait_for_requests(1)
    assert answers == []
    hop.stop()
    sending.join(90)

    assert answers in (["ConnectionError"], ["UNAVAILABLE"], ["CANCELLED"])
    assert hop.uids() == []


def test_it_refuses_while_stopped_and_comes_back_on_its_port(hop):
    client = _Client(hop)
    assert client.send("a") == ExportLogsServiceResponse()

    hop.stop()
    while_stopped = client.send("b")
    hop.start()

    assert while_stopped in ("ConnectionError", "UNAVAILABLE")
    assert client.send("c") == ExportLogsServiceResponse()
    assert hop.uids() == ["a", "c"]
