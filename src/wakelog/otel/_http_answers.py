"""What an answer over HTTP proves, and how it is heard.

Source: OpenTelemetry protocol, OTLP/HTTP response. It lists what may be repeated (429, 502, 503, 504)
and forbids to repeat anything else; it has exporters in mind that drop what they may not repeat.
Wakelog keeps records, so a refusal that no record is to blame for is waited out instead.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson
import requests
import urllib3.exceptions
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from wakelog.otel._hearing import (
    SAYS_TOO_LARGE,
    UNREADABLE,
    Hearing,
    accepted,
    named,
    patience,
    readable,
    within,
)
from wakelog.otel._verdict import Outcome, Verdict

_REDIRECTS = range(300, 400)
_ELSEWHERE = "requests are not sent on to another address; set the endpoint to where logs go"
# Something is set up wrongly, or an account is closed: no record is to blame.
_SETTINGS: Mapping[int, str] = MappingProxyType(
    {
        401: "check the credentials (headers) of the exporter",
        402: "check the account",
        403: "check what the credentials (headers) of the exporter allow",
        404: "check the endpoint's path; logs usually go to /v1/logs",
        405: "this is no OTLP/HTTP endpoint for logs; check the address and the path",
        406: "check whether it takes OTLP as protobuf",
        407: "check the credentials for the proxy",
        410: "check the endpoint",
        411: "check what stands between here and the endpoint",
        414: "check the endpoint",
        415: "check whether it takes OTLP as protobuf, and the compression",
        421: "check the endpoint",
        426: "check the endpoint",
        431: "check the headers of the exporter",
        451: "check the endpoint",
    }
)
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")  # with fractions, which are not allowed but do occur
_PROTOBUF = ("application/x-protobuf", "application/protobuf")
_JSON = "application/json"
_PAGES = ("text/html", "application/xhtml+xml")


def judge_status(
    endpoint: str, status: int, headers: Mapping[str, str], body: bytes, records: int
) -> Verdict:
    """Say what an HTTP answer proves.

    Args:
        endpoint: The URL that was asked.
        status: The HTTP status.
        headers: The answer's headers; names in any case are found.
        body: The answer's body, decompressed.
        records: How many records the request had.
    """
    kind = _header(headers, "Content-Type").partition(";")[0].strip().lower()
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _judge_success(endpoint, status, kind, body, records)
    reason = f"{named(endpoint)} answered {_phrase(status)}"
    if message := _message(kind, body):
        reason = f"{reason}: {message}"
    match status:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Verdict(Outcome.TOO_LARGE, reason)
        case HTTPStatus.BAD_REQUEST if SAYS_TOO_LARGE.search(message):
            return Verdict(Outcome.TOO_LARGE, reason)
        case _ if status in _REDIRECTS:
            to = named(_header(headers, "Location"))
            hint = f"{_ELSEWHERE} ({readable(to)})" if to else _ELSEWHERE
        case _ if status in _SETTINGS:
            hint = _SETTINGS[status]
        case _ if 400 <= status < 500 and status not in _LATER:  # noqa: PLR2004 - the class of client errors
            return Verdict(Outcome.REFUSED, reason)
        case _:
            hint = ""
    if hint:
        reason = f"{reason}; {hint}"
    return Verdict(Outcome.PENDING, reason, _retry_after(headers))


def judge_trouble(endpoint: str, error: BaseException, timeout: object) -> Verdict:
    """Say, in plain words, why there was no answer: nothing is known of the batch."""
    return Verdict(Outcome.PENDING, f"{named(endpoint)} {_trouble(error, timeout)}")


def _judge_success(endpoint: str, status: int, kind: str, body: bytes, records: int) -> Verdict:
    """Read a success; only what could be read proves that nothing was rejected.

    Many gateways answer ``OK`` or JSON of their own, and the status is all that they have to say. But a
    web page comes from a log-in or an error page, not from a receiver of logs, and a body
    that is broken may have said that records were rejected.
    """
    response = ExportLogsServiceResponse()
    if body.strip():
        answered = f"{named(endpoint)} answered {_phrase(status)}, "
        text = None if kind in _PROTOBUF else _text(body)
        if text is None:
            try:
                response.ParseFromString(body)
            except DecodeError:
                return Verdict(Outcome.PENDING, answered + UNREADABLE)
        elif kind in _PAGES or text.lstrip().startswith("<"):
            why = "but with a web page, which no receiver of logs does; check the endpoint"
            return Verdict(Outcome.PENDING, answered + why)
        else:
            try:
                Parse(text, response, ignore_unknown_fields=True)
            except ParseError:
                response.Clear()  # a text or a JSON of its own
    partial = response.partial_success
    return accepted(named(endpoint), partial.rejected_log_records, partial.error_message, records)


def _phrase(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _header(headers: Mapping[str, str], name: str) -> str:
    for key, value in headers.items():
        if key.lower() == name.lower():
            return value
    return ""


def _text(body: bytes) -> str | None:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\r\n" for c in text) else None


def _message(kind: str, body: bytes) -> str:
    """Return what a refusal says for itself, empty when that is nothing that can be read."""
    if kind in _PROTOBUF:
        try:
            return readable(Status.FromString(body).message)
        except DecodeError:
            pass
    text = _text(body)
    if text is None or kind in _PAGES or text.lstrip().startswith("<"):
        return ""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return readable(text)
    if isinstance(content, dict):
        for key in ("message", "error", "detail"):
            if isinstance(content.get(key), str):
                return readable(content[key])
    return readable(text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds, or a date by the clock of the one who answered."""
    value = _header(headers, "Retry-After").strip()
    if _SECONDS.fullmatch(value):
        return patience(float(value))
    until = _date(value)
    if until is None:
        return None
    now = _date(_header(headers, "Date"))
    return patience(until - (time.time() if now is None else now))


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _trouble(error: BaseException, timeout: object) -> str:
    causes = list(_causes(error))
    for kinds, words in (
        (ssl.SSLCertVerificationError, "has a TLS certificate that is not trusted here"),
        (ssl.SSLError, "could not be talked to over TLS"),
        (requests.exceptions.ProxyError, "could not be reached through the proxy"),
        (socket.gaierror, "has a host name that cannot be resolved"),
        (ConnectionRefusedError, "refuses connections"),
        (
            (requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError),
            f"did not accept a connection{within(timeout)}",
        ),
        (
            (TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError),
            f"did not answer{within(timeout)}",
        ),
        (
            (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead),
            "broke its answer off",
        ),
        (requests.exceptions.ChunkedEncodingError, "broke its answer off"),
        (requests.exceptions.ContentDecodingError, "gave an answer that cannot be decompressed"),
        (ConnectionError, "closed the connection"),
        (http.client.BadStatusLine, "does not speak HTTP; it may be an OTLP/gRPC port"),
    ):
        for cause in causes:
            if isinstance(cause, kinds):
                return words + _detail(cause)
    root = causes[-1]
    return f"could not be reached: {type(root).__name__}: {readable(str(root))}"


def _detail(cause: BaseException) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return f": {cause.verify_message}; check the exporter's certificate file"
        case ssl.SSLError():
            return f": {readable(cause.reason or str(cause))}"
        case requests.exceptions.ProxyError():
            return f": {readable(str(list(_causes(cause))[-1]))}"
        case _:
            return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything that it came from, from the outside in.

    The HTTP libraries wrap in four ways: by cause, by context, in ``reason`` and as an argument.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        waiting.extend(one for one in inner if isinstance(one, BaseException))


class _AllIsWell:
    """What an exporter is told instead of the answer: a result of its transport."""

    status_code, reason, error = 200, "OK", None

    def content(self) -> bytes:
        return b""

    def text(self) -> str:
        return ""

    def json(self) -> object:
        return {}

    def headers(self) -> Mapping[str, str]:
        return {}


class _HeardTransport:
    """Stands before the transport of an exporter that somebody else has made.

    Being behind the session, it hears the last answer after everything that the user's session,
    adapters, proxies and authentication do of their own accord.
    """

    def __init__(self, transport: Any, hearing: Hearing) -> None:
        self._transport, self.hearing = transport, hearing

    def request(self, method: str, url: str, **options: Any) -> Any:
        if not self.hearing.listening:
            return self._transport.request(method, url, **options)
        try:
            result = self._transport.request(method, url, **options)
            if result.status_code is None:
                error = result.error or ConnectionError()
                verdict = judge_trouble(url, error, options.get("timeout"))
            else:
                verdict = judge_status(
                    url,
                    result.status_code,
                    result.headers(),
                    result.content(),
                    self.hearing.records,
                )
        except Exception as error:  # noqa: BLE001 - whatever kept the answer away, it is unknown
            verdict = judge_trouble(url, error, options.get("timeout"))
        self.hearing.hear(verdict)
        return _AllIsWell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _HeardSession(requests.Session):
    """The session of an exporter that Wakelog makes; by the exporter's public argument."""

    def __init__(self) -> None:
        super().__init__()
        self.hearing = Hearing()

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        if not self.hearing.listening:
            return super().request(method, url, *args, **options)
        try:
            answer = super().request(method, url, *args, **options)
        except Exception as error:  # noqa: BLE001 - whatever kept the answer away, it is unknown
            verdict = judge_trouble(str(url), error, options.get("timeout"))
        else:
            verdict = judge_status(
                str(url), answer.status_code, answer.headers, answer.content, self.hearing.records
            )
        self.hearing.hear(verdict)
        all_is_well = requests.Response()
        all_is_well.status_code, all_is_well.reason = 200, "OK"
        all_is_well.raw = io.BytesIO()
        return all_is_well


_PROVIDERS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER",
)
_sessions: weakref.WeakKeyDictionary[OTLPLogExporter, _HeardSession] = weakref.WeakKeyDictionary()


def make_exporter() -> OTLPLogExporter:
    """Make the exporter that the environment asks for, in a way that its answers are heard."""
    if any(os.environ.get(name) for name in _PROVIDERS):
        return OTLPLogExporter()  # it asks for a session of the user's making
    session = _HeardSession()
    exporter = OTLPLogExporter(session=session)
    _sessions[exporter] = session
    return exporter


def listen(exporter: OTLPLogExporter) -> tuple[Hearing, Callable[[], None]] | None:
    """Listen to what an exporter is answered.

    Returns:
        Where it can be heard, and what gives the exporter new connections; None when this version
        of the exporter has no place to listen at.
    """
    if session := _sessions.get(exporter):
        return session.hearing, session.close
    # An exporter that the user has made has no public way to its wire.
    client = getattr(exporter, "_client", None)
    transport = getattr(client, "_transport", None)
    if client is None or not callable(getattr(transport, "request", None)):
        return None
    if not isinstance(transport, _HeardTransport):
        client._transport = transport = _HeardTransport(transport, Hearing())  # noqa: SLF001 - see above
    return transport.hearing, transport.close
