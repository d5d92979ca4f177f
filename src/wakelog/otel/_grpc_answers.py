"""Judging and capturing OTLP responses over gRPC.

Source: OpenTelemetry protocol, OTLP/gRPC response, with its table of retryable codes. As over HTTP,
a refusal that no record caused is followed by retries, instead of dropping records.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from wakelog._endpoints import endpoint_name, without_secrets
from wakelog.delivery import Address, ExportOutcome, Outcome, address_of
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

_METHODS: Mapping[str, str] = MappingProxyType(
    {
        LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    }
)
_SIZE_CODES = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNKNOWN,
)
_REFUSED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
)
# Codes whose cause is a setting, not a record.
_SETTINGS: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.UNAUTHENTICATED: "check the credentials (headers) of the exporter",
        grpc.StatusCode.PERMISSION_DENIED: (
            "check what the credentials (headers) of the exporter allow"
        ),
        grpc.StatusCode.UNIMPLEMENTED: (
            "this is no OTLP/gRPC endpoint for %s; check the address. If it does not accept them, "
            "set OTEL_EXPORTER_OTLP_%S_ENDPOINT to one that does, or OTEL_%S_EXPORTER=none to keep "
            "them local"
        ),
        grpc.StatusCode.NOT_FOUND: "check the endpoint",
    }
)
_REFUSED_CONNECTION = re.compile("Connection refused", re.IGNORECASE)
_CLOSED = re.compile("Connection reset|Socket closed|Broken pipe|GOAWAY|RST_STREAM", re.IGNORECASE)
_WORDS = (
    (
        re.compile("CERTIFICATE_VERIFY_FAILED|hostname verification", re.IGNORECASE),
        "has a TLS certificate that is not trusted here; check the exporter's credentials",
    ),
    (re.compile("WRONG_VERSION_NUMBER"), f"could not be talked to over TLS: {NO_TLS}"),
    (re.compile("SSL_ERROR|Handshake|handshak"), "could not be talked to over TLS"),
    (
        re.compile("Failed parsing HTTP/2|http1.x server", re.IGNORECASE),
        "does not speak gRPC; it may be an OTLP/HTTP port",
    ),
    (
        re.compile("DNS resolution failed|errors resolving|domain name not found", re.IGNORECASE),
        "has a host name that cannot be resolved",
    ),
    (_REFUSED_CONNECTION, "refuses connections"),
    (_CLOSED, "closed the connection"),
)
# With one of these variables gRPC uses a proxy, and checking the port behind it proves nothing.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
# gRPC's messages: for a response longer than the channel accepts; and for one that is too long once
# decompressed, which a server also sends about a compressed request.
_ANSWER_TOO_LONG = re.compile(r"CLIENT: Received message larger than max", re.IGNORECASE)
_UNPACKED_TOO_LONG = "Decompressed message larger than max"
_BROKEN = "Exception deserializing response!"  # gRPC's message for an unreadable response with OK


def outcome_of_response(
    endpoint: str, response: ExportLogsServiceResponse | ExportTraceServiceResponse, records: int
) -> ExportOutcome:
    """Return the outcome of a response: delivered, except for records that it rejects."""
    return accepted(_hop(endpoint), response.partial_success, records)


def outcome_of_code(
    endpoint: str,
    code: grpc.StatusCode,
    details: str,
    trailing: Iterable[tuple[str, str | bytes]] = (),
    timeout: object = None,
    *,
    compressed: bool = True,
    signal: str = LOGS,
) -> ExportOutcome:
    """Return the outcome of a status other than OK.

    Args:
        endpoint: The address of the request.
        code: The status code.
        details: The text of the status.
        trailing: The trailing metadata, which may contain ``RetryInfo``.
        timeout: The time-out of the call in seconds, if it is known.
        compressed: Whether the request was, or may have been, compressed.
        signal: The exported signal.
    """
    hop, details = _hop(endpoint), without_secrets(details, endpoint)
    retry_after = _retry_after(trailing)
    reason = f"{hop} answered {code.name}: {readable(details)}".removesuffix(": ")
    if _ANSWER_TOO_LONG.search(details) or (not compressed and details == _UNPACKED_TOO_LONG):
        why = f"{hop} gave an answer that is too long to be read; check the endpoint"
        return ExportOutcome(Outcome.RETRYABLE, why)
    if code in _SIZE_CODES and too_large().search(details):
        return ExportOutcome(Outcome.TOO_LARGE, reason)
    if code in _REFUSED:
        return ExportOutcome(Outcome.REJECTED, reason)
    ours = code is grpc.StatusCode.DEADLINE_EXCEEDED and details.lower().startswith(
        "deadline exceeded"
    )
    if ours and isinstance(timeout, int | float):
        reason = f"{hop} did not answer{within(timeout)}"
        if timeout <= 0:
            reason = f"{hop} was not asked: encoding took longer than the exporter's time-out"
    elif code is grpc.StatusCode.INTERNAL and details == _BROKEN:
        reason = f"{hop} answered OK, {UNREADABLE}"
    elif code is grpc.StatusCode.UNAVAILABLE:
        words = (words for pattern, words in _WORDS if pattern.search(details))
        reason = f"{hop} {said}" if (said := next(words, None)) else reason
    elif code in _SETTINGS:
        reason = f"{reason}; {_SETTINGS[code].replace('%s', signal).replace('%S', signal.upper())}"
    unavailable = code is grpc.StatusCode.UNAVAILABLE
    refused = unavailable and _REFUSED_CONNECTION.search(details) is not None
    return ExportOutcome(
        Outcome.RETRYABLE,
        reason,
        retry_after,
        refused_at=_address_of(endpoint) if refused else None,
        closed=unavailable and _CLOSED.search(details) is not None,
        unserved=code is grpc.StatusCode.UNIMPLEMENTED,
    )


def _address_of(endpoint: str) -> Address | None:
    """Return the next hop's address, None behind a proxy and for gRPC's own address schemes."""
    if any(os.environ.get(name) for name in _PROXIES):
        return None
    return address_of(endpoint)


def _hop(endpoint: str) -> str:
    return f"{endpoint_name(endpoint)} (gRPC)"


def _retry_after(trailing: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the delay of ``RetryInfo``, from where the specification or the SDK expects it."""
    for key, value in trailing:
        if not isinstance(value, bytes):
            continue
        info = RetryInfo()
        try:
            if key == "google.rpc.retryinfo-bin":
                info.ParseFromString(value)
            elif key == "grpc-status-details-bin":
                for detail in Status.FromString(value).details:
                    if detail.Unpack(info):
                        break
        except DecodeError:
            continue
        if info.HasField("retry_delay"):
            return retry_delay(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


class _CapturingStub:
    """Wraps the stub of an exporter and captures its responses.

    Args:
        stub: The stub.
        wire: The capture of the exporter.
        channel: The channel of the stub.
    """

    def __init__(self, stub: Any, wire: _Wire, channel: Any) -> None:
        self._stub, self.wire = stub, wire
        # The same method, for requests that are already encoded.
        signal = wire.capture.signal
        self._send = channel.unary_unary(
            _METHODS[signal], response_deserializer=_RESPONSES[signal].FromString
        )

    def Export(self, request: Any, **options: Any) -> Any:  # noqa: N802 - the stub's name
        capture = self.wire.capture
        if not capture.is_attempting:
            return self._stub.Export(request=request, **options)
        endpoint = self.wire.endpoint
        export = self._stub.Export
        if (encoded := capture.request()) is not None:
            request, export = encoded, self._send
        try:
            response = export(request=request, **options)
            outcome = outcome_of_response(endpoint, response, capture.records)
        except grpc.RpcError as error:
            outcome = self._outcome_of(error, request, options.get("timeout"))
        except ValueError as error:  # the channel is closed, or gRPC does not accept a header
            outcome = ExportOutcome(
                Outcome.RETRYABLE, f"{_hop(endpoint)} was not asked: {readable(str(error))}"
            )
        capture.note(outcome)
        return _RESPONSES[capture.signal]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def _outcome_of(self, error: Any, request: Any, timeout: object) -> ExportOutcome:
        code: grpc.StatusCode = error.code()
        if code is grpc.StatusCode.INTERNAL and not isinstance(request, bytes):
            # gRPC serializes inside the call, and reports this code for a failed serialization.
            try:
                request.SerializeToString()
            except Exception as cause:  # noqa: BLE001 - any cause means an unsendable batch
                return ExportOutcome(Outcome.REJECTED, f"cannot be encoded: {readable(str(cause))}")
        trailing = error.trailing_metadata() or ()
        outcome = outcome_of_code(
            self.wire.endpoint,
            code,
            error.details() or "",
            trailing,
            timeout,
            compressed=self.wire.compresses,
            signal=self.wire.capture.signal,
        )
        if code is grpc.StatusCode.UNAVAILABLE and outcome.retry_after is None:
            self.wire.reconnect()
        return outcome


class _Wire:
    """Captures the responses to one exporter, also after it has created a new channel and stub."""

    def __init__(self, exporter: Any, signal: str) -> None:
        self.capture = ResponseCapture(signal)
        self._exporter = exporter
        make = exporter._stub  # noqa: SLF001 - no public way to the responses
        exporter._stub = lambda channel: _CapturingStub(make(channel), self, channel)  # noqa: SLF001
        exporter._client = _CapturingStub(exporter._client, self, exporter._channel)  # noqa: SLF001

    @property
    def endpoint(self) -> str:
        """The exporter's address."""
        return str(getattr(self._exporter, "_endpoint", "the next hop"))

    @property
    def compresses(self) -> bool:
        """Whether the exporter compresses its requests; True if that is unknown."""
        compression = getattr(self._exporter, "_compression", None)
        return compression is not grpc.Compression.NoCompression

    def reconnect(self) -> None:
        """Create a new channel, as the exporter itself would have done.

        A failing channel waits for up to two minutes between its attempts to connect, and every
        call in between fails at once, although the next hop may long be reachable again.
        """
        if not self._exporter._shutdown:  # noqa: SLF001
            self._exporter._channel.close()  # noqa: SLF001
            self.renew()

    def renew(self) -> None:
        """Create a new channel without closing the current one, which the parent process uses."""
        self._exporter._initialize_channel_and_stub()  # noqa: SLF001


_RESPONSES: Mapping[str, Any] = {
    LOGS: ExportLogsServiceResponse,
    TRACES: ExportTraceServiceResponse,
}
_NEEDED = ("_stub", "_client", "_channel", "_shutdown", "_initialize_channel_and_stub")


def capture_responses(exporter: Any, *, signal: str = LOGS) -> Capturing | None:
    """Capture the responses to an exporter.

    Args:
        exporter: The official exporter of log records or of spans.
        signal: The signal that it exports.

    Returns:
        The capture; None if this version of the exporter does not allow it.
    """
    if not all(hasattr(exporter, name) for name in _NEEDED):
        return None
    client: Any = exporter._client  # noqa: SLF001
    wire = client.wire if isinstance(client, _CapturingStub) else _Wire(exporter, signal)
    return Capturing(wire.capture, wire.renew, is_official(exporter))
