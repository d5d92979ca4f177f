"""Judging and capturing OTLP responses over HTTP.

Source: OpenTelemetry protocol, OTLP/HTTP response. It lists the retryable status codes (429, 502,
503, 504) and forbids other retries, for exporters that drop what they may not retry. Wakelog keeps
records, so it retries after a refusal that no record caused.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar

import orjson
import requests
import urllib3.exceptions
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from wakelog._bodies import LONGEST_BODY
from wakelog._endpoints import endpoint_name, without_secrets
from wakelog.delivery import ExportOutcome, Outcome, address_of
from wakelog.otel._bounded import BoundedSession, bound_session, has_provider, limited
from wakelog.otel._requests import compressed_like
from wakelog.otel._response_capture import (
    LOGS,
    NO_TLS,
    TRACES,
    UNREADABLE,
    Capturing,
    ResponseCapture,
    accepted,
    is_official,
    readable,
    retry_delay,
    too_large,
    within,
)

_REDIRECTS = range(300, 400)
_ELSEWHERE = "requests are not sent on to another address; set the endpoint to where {signal} go"
# Status codes whose cause is a setting or a closed account, not a record.
_SETTINGS: Mapping[int, str] = MappingProxyType(
    {
        401: "check the credentials (headers) of the exporter",
        402: "check the account",
        403: "check what the credentials (headers) of the exporter allow",
        404: (
            "check the endpoint's path; {signal} usually go to /v1/{signal}. If it does not accept "
            "them, set OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT to one that does, or "
            "OTEL_{SIGNAL}_EXPORTER=none to keep them local"
        ),
        405: "this is no OTLP/HTTP endpoint for {signal}; check the address and the path",
        406: "check whether it takes OTLP as protobuf",
        407: "check the credentials for the proxy",
        410: "check the endpoint",
        411: "check the proxies in front of the endpoint",
        414: "check the endpoint",
        415: "check whether it takes OTLP as protobuf, and the compression",
        421: "check the endpoint",
        426: "check the endpoint",
        431: "check the headers of the exporter",
        451: "check the endpoint",
    }
)
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")  # fractions are not allowed, but some servers send them
_PROXY_ERRORS = (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)
_CLOSED = (
    ConnectionResetError,
    BrokenPipeError,
    ConnectionAbortedError,
)  # RemoteDisconnected is a ConnectionResetError
_PROTOBUF = ("application/x-protobuf", "application/protobuf")
_JSON = "application/json"
_PAGES = ("text/html", "application/xhtml+xml")
_TOO_LONG = f"it is longer than {LONGEST_BODY // 1024} KiB; check the endpoint"


def outcome_of_status(
    endpoint: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    records: int,
    *,
    cut: bool = False,
    signal: str = LOGS,
) -> ExportOutcome:
    """Return the outcome of an HTTP response.

    Args:
        endpoint: The URL of the request.
        status: The HTTP status.
        headers: The response's headers; the case of names does not matter.
        body: The response's body, decompressed.
        records: The number of records in the request.
        cut: Whether ``body`` is only the beginning of the response's body.
        signal: The exported signal.
    """
    if cut:
        body = _whole_characters(body)
    kind = _header(headers, "Content-Type").partition(";")[0].strip().lower()
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _outcome_of_success(endpoint, status, kind, body, records, cut=cut, signal=signal)
    reason = f"{endpoint_name(endpoint)} answered {_phrase(status)}"
    if message := _message(kind, body):
        reason = f"{reason}: {message}"
    match status:
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return ExportOutcome(Outcome.TOO_LARGE, reason)
        case HTTPStatus.BAD_REQUEST if too_large().search(message):
            return ExportOutcome(Outcome.TOO_LARGE, reason)
        case _ if status in _REDIRECTS:
            to = endpoint_name(_header(headers, "Location"))
            hint = f"{_ELSEWHERE} ({readable(to)})" if to else _ELSEWHERE
        case _ if status in _SETTINGS:
            hint = _SETTINGS[status]
        case _ if 400 <= status < 500 and status not in _LATER:  # noqa: PLR2004 - the class of client errors
            return ExportOutcome(Outcome.REJECTED, reason)
        case _:
            hint = ""
    if hint:
        reason = f"{reason}; {hint.replace('{signal}', signal).replace('{SIGNAL}', signal.upper())}"
    unserved = status == HTTPStatus.NOT_FOUND
    return ExportOutcome(Outcome.RETRYABLE, reason, _retry_after(headers), unserved=unserved)


def outcome_of_error(endpoint: str, error: BaseException, timeout: object) -> ExportOutcome:
    """Return the outcome of an attempt without a response, with the cause in plain words."""
    causes = list(_causes(error))
    proxied = any(isinstance(cause, _PROXY_ERRORS) for cause in causes)
    refused = not proxied and any(isinstance(cause, ConnectionRefusedError) for cause in causes)
    said = without_secrets(_trouble(error, timeout), endpoint)
    return ExportOutcome(
        Outcome.RETRYABLE,
        f"{endpoint_name(endpoint)} {said}",
        refused_at=address_of(endpoint) if refused else None,
        closed=not proxied and any(isinstance(cause, _CLOSED) for cause in causes),
    )


def _outcome_of_success(
    endpoint: str, status: int, kind: str, body: bytes, records: int, *, cut: bool, signal: str
) -> ExportOutcome:
    """Return the outcome of a 2xx response; an unreadable body does not prove delivery.

    Many gateways respond with ``OK`` or JSON of their own, and only the status counts. But a web
    page is a log-in or error page, not the response of a receiver of logs, and a broken body may
    have said that records were rejected.
    """
    response = _RESPONSES[signal]()
    if body.strip():
        answered = f"{endpoint_name(endpoint)} answered {_phrase(status)}, "
        text = None if kind in _PROTOBUF else _text(body)
        if text is None:
            if cut:
                return ExportOutcome(Outcome.RETRYABLE, f"{answered}{UNREADABLE}: {_TOO_LONG}")
            try:
                response.ParseFromString(body)
            except DecodeError:
                return ExportOutcome(Outcome.RETRYABLE, answered + UNREADABLE)
        elif kind in _PAGES or text.lstrip().startswith("<"):
            why = f"but with a web page, which no receiver of {signal} does; check the endpoint"
            return ExportOutcome(Outcome.RETRYABLE, answered + why)
        else:
            try:
                Parse(text, response, ignore_unknown_fields=True)
            except ParseError:
                response.Clear()  # text, or JSON that is not OTLP
    return accepted(endpoint_name(endpoint), response.partial_success, records)


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


def _whole_characters(body: bytes) -> bytes:
    """Return a truncated text without the incomplete character at its end."""
    for missing in range(1, 4):
        if body[-missing:][:1] >= b"\xc0":
            return body[:-missing]
    return body


def _message(kind: str, body: bytes) -> str:
    """Return the message of an error response, empty if none can be read."""
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
    """Return the delay of ``Retry-After``: seconds, or a date compared with the response's own."""
    value = _header(headers, "Retry-After").strip()
    if _SECONDS.fullmatch(value):
        return retry_delay(float(value))
    until = _date(value)
    if until is None:
        return None
    now = _date(_header(headers, "Date"))
    return retry_delay(until - (time.time() if now is None else now))


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
            # Only Python's own ssl module sets verify_message.
            why = readable(getattr(cause, "verify_message", "") or str(cause))
            return f": {why}; check the exporter's certificate file"
        case ssl.SSLError():
            why = getattr(cause, "reason", "") or str(cause)
            return f": {NO_TLS if why == 'WRONG_VERSION_NUMBER' else readable(why)}"
        case requests.exceptions.ProxyError():
            return f": {readable(str(list(_causes(cause))[-1]))}"
        case _:
            return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all its causes, from the outside in.

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


def _attempt(
    capture: ResponseCapture,
    url: str,
    options: dict[str, Any],
    ask: Callable[[dict[str, Any]], tuple[int, Mapping[str, str], bytes]],
) -> None:
    """Send a request, and capture the outcome of its response.

    Args:
        capture: Has the body that Wakelog has encoded, if there is one, and stores the outcome.
        url: The URL of the request.
        options: The exporter's options of the request.
        ask: Sends it with its options, and returns the response's status, headers and body.
    """
    data = capture.request(lambda request: compressed_like(options.get("data"), request))
    timeout = options.get("timeout")
    try:
        with limited(timeout) as limit:
            status, headers, body = ask(options if data is None else {**options, "data": data})
    except Exception as error:  # noqa: BLE001 - without a response, the outcome is unknown
        outcome = outcome_of_error(url, error, timeout)
    else:
        outcome = outcome_of_status(
            url, status, headers, body, capture.records, cut=limit.cut, signal=capture.signal
        )
    capture.note(outcome)


class _AllIsWell:
    """The successful transport result that an exporter gets instead of the real one."""

    status_code, reason, error = 200, "OK", None

    def content(self) -> bytes:
        return b""

    def text(self) -> str:
        return ""

    def json(self) -> object:
        return {}

    def headers(self) -> Mapping[str, str]:
        return {}


class _CapturingTransport:
    """Wraps the transport of an exporter that the user created.

    It is outside the session, so it captures the final response, after everything that the user's
    session, adapters, proxies and authentication do.
    """

    def __init__(self, transport: Any, capture: ResponseCapture) -> None:
        self._transport, self.capture = transport, capture

    def request(self, method: str, url: str, **options: Any) -> Any:
        if not self.capture.is_attempting:
            return self._transport.request(method, url, **options)
        # The exporter's session, its own or the user's, has no public name.
        bound_session(getattr(self._transport, "_session", None))

        def ask(options: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
            result = self._transport.request(method, url, **options)
            if result.status_code is None:
                raise result.error or ConnectionError()
            return result.status_code, result.headers(), result.content()

        _attempt(self.capture, url, options, ask)
        return _AllIsWell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _CapturingSession(BoundedSession):
    """The session of an exporter that Wakelog creates, passed as the exporter's public argument."""

    def __init__(self, signal: str = LOGS) -> None:
        super().__init__()
        self.capture = ResponseCapture(signal)

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        if not self.capture.is_attempting:
            return super().request(method, url, *args, **options)

        def ask(options: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
            answer = requests.Session.request(self, method, url, *args, **options)
            return answer.status_code, answer.headers, answer.content

        _attempt(self.capture, str(url), options, ask)
        all_is_well = requests.Response()
        all_is_well.status_code, all_is_well.reason = 200, "OK"
        all_is_well.raw = io.BytesIO()
        return all_is_well


Exporter = TypeVar("Exporter")
_RESPONSES: Mapping[str, Any] = {
    LOGS: ExportLogsServiceResponse,
    TRACES: ExportTraceServiceResponse,
}
_sessions: weakref.WeakKeyDictionary[Any, _CapturingSession] = weakref.WeakKeyDictionary()


def make_exporter(make: Callable[..., Exporter], signal: str) -> Exporter:
    """Create the exporter that the environment configures, with its responses captured.

    Args:
        make: The class of the official exporter.
        signal: The signal that it exports.
    """
    if has_provider(signal):
        return make()  # it gets its session from the user's provider
    session = _CapturingSession(signal)
    exporter = make(session=session)
    _sessions[exporter] = session
    return exporter


def capture_responses(exporter: Any, *, signal: str = LOGS) -> Capturing | None:
    """Capture the responses to an exporter.

    Args:
        exporter: The official exporter of log records or of spans.
        signal: The signal that it exports.

    Returns:
        The capture; None if this version of the exporter does not allow it.
    """
    plain = is_official(exporter)
    if session := _sessions.get(exporter):
        return Capturing(session.capture, session.close, plain)
    # The transport of an exporter that the user created has no public name.
    client = getattr(exporter, "_client", None)
    transport = getattr(client, "_transport", None)
    if client is None or not callable(getattr(transport, "request", None)):
        return None
    if not isinstance(transport, _CapturingTransport):
        transport = _CapturingTransport(transport, ResponseCapture(signal))
        client._transport = transport  # noqa: SLF001 - see above
    return Capturing(transport.capture, transport.close, plain)
