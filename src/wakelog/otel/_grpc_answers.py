"""What an answer over gRPC proves, and how it is heard.

Source: OpenTelemetry protocol, OTLP/gRPC response, with its table of the codes that may be repeated. As
over HTTP, a refusal that no record is to blame for is waited out instead of dropping records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
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
# Something is set up wrongly: no record is to blame.
_SETTINGS: Mapping[grpc.StatusCode, str] = MappingProxyType(
    {
        grpc.StatusCode.UNAUTHENTICATED: "check the credentials (headers) of the exporter",
        grpc.StatusCode.PERMISSION_DENIED: (
            "check what the credentials (headers) of the exporter allow"
        ),
        grpc.StatusCode.UNIMPLEMENTED: "this is no OTLP/gRPC endpoint for logs; check the address",
        grpc.StatusCode.NOT_FOUND: "check the endpoint",
    }
)
_WORDS = (
    (
        re.compile("CERTIFICATE_VERIFY_FAILED|hostname verification", re.IGNORECASE),
        "has a TLS certificate that is not trusted here; check the exporter's credentials",
    ),
    (re.compile("SSL_ERROR|Handshake|handshak"), "could not be talked to over TLS"),
    (
        re.compile("Failed parsing HTTP/2|http1.x server", re.IGNORECASE),
        "does not speak gRPC; it may be an OTLP/HTTP port",
    ),
    (
        re.compile("DNS resolution failed|domain name not found", re.IGNORECASE),
        "has a host name that cannot be resolved",
    ),
    (re.compile("Connection refused", re.IGNORECASE), "refuses connections"),
    (
        re.compile("Connection reset|Socket closed|Broken pipe|GOAWAY|RST_STREAM", re.IGNORECASE),
        "closed the connection",
    ),
)


_BROKEN = "Exception deserializing response!"  # gRPC's words, for an answer that said OK


def judge_response(endpoint: str, response: ExportLogsServiceResponse, records: int) -> Verdict:
    """Say what a response proves: delivered, all but what it says was rejected."""
    partial = response.partial_success
    return accepted(_hop(endpoint), partial.rejected_log_records, partial.error_message, records)


def judge_code(
    endpoint: str,
    code: grpc.StatusCode,
    details: str,
    trailing: Iterable[tuple[str, str | bytes]] = (),
    timeout: object = None,
) -> Verdict:
    """Say what a status other than OK proves.

    Args:
        endpoint: The address that was asked.
        code: The status code.
        details: The status's text.
        trailing: The metadata that came with it, in which ``RetryInfo`` may be.
        timeout: How long was waited for an answer, in seconds, when that is known.
    """
    hop = _hop(endpoint)
    retry_after = _retry_after(trailing)
    reason = f"{hop} answered {code.name}: {readable(details)}".removesuffix(": ")
    if code in _SIZE_CODES and SAYS_TOO_LARGE.search(details):
        return Verdict(Outcome.TOO_LARGE, reason)
    if code in _REFUSED:
        return Verdict(Outcome.REFUSED, reason)
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
        reason = f"{reason}; {_SETTINGS[code]}"
    return Verdict(Outcome.PENDING, reason, retry_after)


def _hop(endpoint: str) -> str:
    return f"{named(endpoint)} (gRPC)"


def _retry_after(trailing: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Read ``RetryInfo``, where the specification has it and where the SDK looks for it."""
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
            return patience(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None


class _HeardStub:
    """Stands before the stub of an exporter."""

    def __init__(self, stub: Any, ear: _Ear) -> None:
        self._stub, self.ear = stub, ear

    def Export(self, request: Any, **options: Any) -> Any:  # noqa: N802 - the stub's name
        hearing = self.ear.hearing
        if not hearing.listening:
            return self._stub.Export(request=request, **options)
        endpoint = self.ear.endpoint
        try:
            response = self._stub.Export(request=request, **options)
            verdict = judge_response(endpoint, response, hearing.records)
        except grpc.RpcError as error:
            verdict = self._judge(error, request, options.get("timeout"))
        except ValueError as error:  # a channel that is shut, or headers that gRPC does not take
            verdict = Verdict(Outcome.PENDING, f"{_hop(endpoint)}: {readable(str(error))}")
        hearing.hear(verdict)
        return ExportLogsServiceResponse()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)

    def _judge(self, error: Any, request: Any, timeout: object) -> Verdict:
        code: grpc.StatusCode = error.code()
        if code is grpc.StatusCode.INTERNAL:
            # gRPC serializes inside the call, and has this code for what it could not.
            try:
                request.SerializeToString()
            except Exception as cause:  # noqa: BLE001 - whatever it is, this batch cannot be sent
                return Verdict(Outcome.REFUSED, f"cannot be encoded: {readable(str(cause))}")
        trailing = error.trailing_metadata() or ()
        verdict = judge_code(self.ear.endpoint, code, error.details() or "", trailing, timeout)
        if code is grpc.StatusCode.UNAVAILABLE and verdict.retry_after is None:
            self.ear.reconnect()
        return verdict


class _Ear:
    """Listens to one exporter, also after it has made itself a new channel and stub."""

    def __init__(self, exporter: Any) -> None:
        self.hearing = Hearing()
        self._exporter = exporter
        make = exporter._stub  # noqa: SLF001 - no public way to the wire
        exporter._stub = lambda channel: _HeardStub(make(channel), self)  # noqa: SLF001
        exporter._client = _HeardStub(exporter._client, self)  # noqa: SLF001

    @property
    def endpoint(self) -> str:
        """The address, as the exporter has it."""
        return str(getattr(self._exporter, "_endpoint", "the next hop"))

    def reconnect(self) -> None:
        """Begin with a new channel, as the exporter itself would have.

        A channel in trouble makes pauses of up to two minutes between its own attempts to
        connect, in which every call fails at once: the next hop could long be back.
        """
        if not self._exporter._shutdown:  # noqa: SLF001
            self._exporter._channel.close()  # noqa: SLF001
            self.renew()

    def renew(self) -> None:
        """Begin with a new channel and leave the one there was to whom it belongs."""
        self._exporter._initialize_channel_and_stub()  # noqa: SLF001


_NEEDED = ("_stub", "_client", "_channel", "_shutdown", "_initialize_channel_and_stub")


def listen(exporter: OTLPLogExporter) -> tuple[Hearing, Callable[[], None]] | None:
    """Listen to what an exporter is answered.

    Returns:
        Where it can be heard, and what gives the exporter new connections; None when this version
        of the exporter has no place to listen at.
    """
    if not all(hasattr(exporter, name) for name in _NEEDED):
        return None
    client: Any = exporter._client  # noqa: SLF001
    ear = client.ear if isinstance(client, _HeardStub) else _Ear(exporter)
    return ear.hearing, ear.renew
