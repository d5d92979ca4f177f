"""What is said when nothing can be delivered: a sentence for every cause, with each hint once."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import grpc
import pytest
import requests
import urllib3.exceptions

from tests.cli.test_cli import SECONDS, environment, recorder, run
from tests.journal.test_journal import fill
from tests.support.scripted import CLOSE, HANG, RESET, UNAUTHENTICATED, Answer, ScriptedHTTP
from wakelog.delivery import Outage
from wakelog.errors import QuotaExceededError
from wakelog.gateway import CallbackTransport, EventSessionLogger, TransportConnectionError
from wakelog.journal import Journal, Space
from wakelog.otel import _exporters, _grpc_answers, _http_answers

ROOT = Path("/journal")
URL = "http://collector:4318/v1/logs"
TARGET = "collector:4317"
# The next hop is the subject, and one of these its verb.
VERBS = "answered|has|refuses|did|does|could|closed|broke|gave|was|rejected"
SENTENCE = re.compile(
    rf"cannot deliver: (?P<reason>(?P<hop>\S+(?: \(gRPC\))?) (?:{VERBS}) .*\S)\. "
    r"Events are kept in /journal and sent when it works again"
)

TROUBLE: list[BaseException] = [
    ssl.SSLCertVerificationError(1, "certificate verify failed"),
    ssl.SSLError(1, "wrong version number"),
    requests.exceptions.ProxyError("the proxy said 403"),
    socket.gaierror(-2, "Name or service not known"),
    ConnectionRefusedError(111, "Connection refused"),
    requests.exceptions.ConnectTimeout(),
    urllib3.exceptions.ConnectTimeoutError(),
    requests.exceptions.ReadTimeout(),
    TimeoutError(),
    http.client.IncompleteRead(b""),
    requests.exceptions.ChunkedEncodingError(),
    requests.exceptions.ContentDecodingError(),
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionError(),
    http.client.BadStatusLine("\x00\x00\x06"),
    OSError(113, "No route to host"),
    RuntimeError("something new."),
]
DETAILS = [
    "CERTIFICATE_VERIFY_FAILED",
    "Handshake failed",
    "Failed parsing HTTP/2",
    "DNS resolution failed for collector",
    "failed to connect: Connection refused",
    "Socket closed",
    "something new.",
    "",
]


def log_of(reason: str, endpoint: str, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    outage = Outage(endpoint, ROOT, lambda: 0.0)
    with caplog.at_level(logging.WARNING, "wakelog"):
        outage.failed(reason)
        outage.failed(reason)  # once for an outage
    (record,) = caplog.records
    return record.getMessage()


def reasons() -> list[tuple[str, str, str]]:
    """A name, the next hop and the reason of every cause that there is."""
    found = [
        (f"http {type(error).__name__}", URL, _http_answers.outcome_of_error(URL, error, 5).reason)
        for error in TROUBLE
    ]
    pages = {"empty": ("", b""), "text": ("text/plain", b"Go away."), "page": ("text/html", b"<p>")}
    found += [
        (f"http {status.value} {name}", URL, outcome.reason)
        for status in HTTPStatus
        if status >= HTTPStatus.OK
        for name, (kind, body) in pages.items()
        if (
            outcome := _http_answers.outcome_of_status(
                URL, status, {"Content-Type": kind, "Location": "http://other"}, body, 8
            )
        ).reason
    ]
    unreadable = {"Content-Type": "application/x-protobuf"}
    outcome = _http_answers.outcome_of_status(URL, 200, unreadable, b"\xff\xff", 8)
    found.append(("http unreadable", URL, outcome.reason))
    found += [
        (f"grpc {code.name} {details}", TARGET, outcome.reason)
        for code in grpc.StatusCode
        if code is not grpc.StatusCode.OK
        for details in (*DETAILS, "Deadline Exceeded", "Exception deserializing response!")
        for outcome in (_grpc_answers.outcome_of_code(TARGET, code, details, timeout=5),)
    ]
    return found


@pytest.mark.parametrize("hop", [URL, TARGET])
def test_every_cause_makes_a_sentence_and_gives_each_hint_once(
    hop: str, caplog: pytest.LogCaptureFixture
) -> None:
    tried = 0
    for name, endpoint, reason in reasons():
        if endpoint != hop:
            continue
        message = log_of(reason, endpoint, caplog)
        found = SENTENCE.fullmatch(message)
        assert found is not None, (name, message)
        assert found["hop"].removesuffix(" (gRPC)") == hop, (name, message)
        assert message.count(hop) == 1, (name, message)
        assert ".." not in message.replace("…", ""), (name, message)
        for hint in ("check ", " port", "Events are kept"):
            assert message.count(hint) <= 1, (name, message)
        tried += 1
    assert tried > 40


@pytest.mark.parametrize(
    "reason",
    [
        "MyExporter raised ValueError: no such thing.",
        "MyExporter reported a failure",
        "MyExporter returned None, not LogRecordExportResult.SUCCESS",
        "cannot read /journal/1: Input/output error",
        "",
    ],
)
def test_reasons_of_other_exporters_make_sentences_too(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = log_of(reason, "MyExporter", caplog)

    assert message.startswith(("cannot deliver: MyExporter ", "cannot deliver to MyExporter: "))
    assert message.endswith(". Events are kept in /journal and sent when it works again")
    assert ".." not in message
    assert message.count("MyExporter") == 1


@pytest.mark.parametrize("answer", [CLOSE, HANG, RESET, UNAUTHENTICATED, Answer(status=404)])
def test_what_ship_gives_up_for_is_a_sentence(answer: Answer, tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")

    with ScriptedHTTP(answer) as hop:
        done = run(
            *("ship", "--endpoint", hop.endpoint, "--protocol", "http/protobuf"),
            *("--timeout", "0.5", tmp_path),
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )

    assert done.returncode == 1
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("wakelog: gave up")]
    said = rf"wakelog: gave up after 0\.5 s: {re.escape(hop.endpoint)}/v1/logs (?:{VERBS}) .+"
    assert re.fullmatch(said, last)


def test_a_port_is_remarked_on_once_and_not_once_for_each_signal(tmp_path: Path) -> None:
    program = (
        "import logging; logging.basicConfig(level='WARNING', format='%(message)s')\n"
        "import wakelog\n"
        "wakelog.configure('a').decision('go')\n"
        "wakelog.shutdown()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(
            WAKELOG_DIR=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318"
        ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )

    assert done.stderr.count("is usually OTLP over HTTP") == 1


def test_another_variable_is_remarked_on_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_exporters, "_hinted", set())
    for variable in ("A", "A", "B"):
        _exporters._check_endpoint(variable, "http://127.0.0.1:4318", "grpc")

    said = [record.getMessage().split("=")[0] for record in caplog.records]
    assert said == ["A", "B"]


def test_what_the_gateway_cannot_forward_is_a_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise TransportConnectionError("the other side is away.")

    async def forward() -> None:
        transport = CallbackTransport(refuse)
        async with EventSessionLogger(
            tmp_path,
            downstream_transport=transport,
            close_timeout_seconds=0.1,
            retry_delay_seconds=0.01,
        ) as log:
            await log({"session_id": "s-1", "event_type": "x"})
            await log.flush(2)

    with caplog.at_level(logging.WARNING, "wakelog"):
        asyncio.run(forward())

    (said,) = [r.getMessage() for r in caplog.records if "forward" in r.getMessage()]
    assert said == (
        "cannot forward to the transport: the other side is away. Events are kept and sent when it works again"
    )


@pytest.mark.parametrize(
    "disk, quota, says, leaves_out",
    [
        (50_000, None, "a tenth of this small disk", "next hop"),
        (None, 5_000, "Raise quota_bytes (WAKELOG_QUOTA_BYTES)", "next hop"),
    ],
)
def test_an_event_that_is_too_much_for_a_small_disk_is_refused_with_the_true_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: int | None,
    quota: int | None,
    says: str,
    leaves_out: str,
) -> None:
    if disk is not None:
        real = os.statvfs(tmp_path)
        few = os.statvfs_result((real.f_bsize, 1, disk, disk, disk, *real[5:]))
        monkeypatch.setattr("wakelog.journal._space.os.statvfs", lambda _: few)
    journal = Journal(tmp_path, space=Space(quota_bytes=quota))

    with pytest.raises(QuotaExceededError) as refused:
        fill(journal, 1)

    assert refused.value.pending == 0
    message = str(refused.value)
    assert "no event in it waits for delivery" in message
    assert says in message
    assert leaves_out not in message
    journal.close()
