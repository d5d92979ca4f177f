"""Captures the OTLP response that the official exporters reduce to success or failure.

The official exporters retry after transient errors, and log every attempt. So their transport is
wrapped: the response is judged there, and the exporter gets a success in its place. It then has
nothing to retry or log, and each export is one attempt. Other users of the same exporter get the
real responses.
"""

from __future__ import annotations

import enum
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, Protocol

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export import SpanExporter

from wakelog._endpoints import without_secrets
from wakelog._printable import printable
from wakelog.delivery import ExportOutcome, Outcome, suppress_recording
from wakelog.otel._requests import CountedBatch
from wakelog.runtime import PerThread, contained

_log = logging.getLogger("wakelog")

LONGEST_RETRY_AFTER = 3600.0
NO_TLS = "it does not speak TLS; an address that begins with http:// is used without"
UNREADABLE = "but what it said cannot be read, and records may have been rejected"


@cache
def too_large() -> re.Pattern[str]:
    # Few servers have a separate status code for it, and their messages differ: C++, Go, Java, .NET and
    # Rust over gRPC, and the Collector (Go) over HTTP.
    return re.compile(
        r"larger than max|exceeds? (the )?max|(message|message length|request body) too large"
        r"|http2 header with status: 413",
        re.IGNORECASE,
    )


_LONGEST_MESSAGE = 300


@cache
def _unreadable() -> re.Pattern[str]:
    return re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


LOGS, TRACES = "logs", "traces"
"""The signals, as the paths of OTLP over HTTP and its variables name them."""
Encode = Callable[[Sequence[Any]], "bytes | None"]
"""Encodes the request for a batch; returns None if only the exporter can."""
ExportAttempt = Callable[[Sequence[Any]], ExportOutcome]
"""Exports a batch once and returns the outcome. It does not raise."""


class Captured:
    """One export, with its captured outcome.

    Attributes:
        records: The number of records in it.
        request: The request to send in place of the exporter's own, None to send the exporter's
            own.
        sent: Whether that request was sent.
        outcome: The outcome so far, None before the first response.
    """

    def __init__(self, records: int, request: bytes | None) -> None:
        self.records = records
        self.request = request
        self.sent = False
        self.outcome: ExportOutcome | None = None


class ResponseCapture:
    """The responses to the current attempt of each thread.

    Args:
        signal: The exported signal.
    """

    def __init__(self, signal: str = LOGS) -> None:
        self.signal = signal
        self._attempt = PerThread[Captured | None](None)

    @property
    def is_attempting(self) -> bool:
        """Whether this thread is in an attempt that Wakelog makes."""
        return self._attempt.get() is not None

    @property
    def records(self) -> int:
        """The number of records in the current attempt."""
        attempt = self._attempt.get()
        return 0 if attempt is None else attempt.records

    def request(
        self, replace: Callable[[bytes], bytes | None] = lambda request: request
    ) -> bytes | None:
        """Return the request to send in place of the exporter's own, None to send that one.

        Args:
            replace: Converts the request for sending; returns None if it cannot.
        """
        attempt = self._attempt.get()
        if attempt is None or attempt.request is None:
            return None
        data = replace(attempt.request)
        attempt.sent = data is not None
        return data

    @contextmanager
    def attempt(self, records: int, request: bytes | None = None) -> Iterator[Captured]:
        """Capture the responses to requests of this thread in the block."""
        attempt = Captured(records, request)
        with self._attempt.set(attempt):
            yield attempt

    def note(self, outcome: ExportOutcome) -> None:
        """Add a response's outcome. If an attempt makes several requests, each has to succeed."""
        attempt = self._attempt.get()
        if attempt is None:
            return
        before = attempt.outcome
        if before is None:
            attempt.outcome = outcome
        elif before.kind is Outcome.DELIVERED:
            both = min(before.rejected + outcome.rejected, attempt.records)
            reason = outcome.reason or before.reason
            attempt.outcome = outcome._replace(reason=reason, rejected=both)


class Capturing(NamedTuple):
    """The capture of one exporter.

    Attributes:
        capture: The captured responses.
        renew: Replaces the exporter's connections.
        takes_requests: Whether its requests can be replaced, see ``_requests``.
    """

    capture: ResponseCapture
    renew: Callable[[], None]
    takes_requests: bool


class CapturedAttempt:
    """Judges an attempt by the captured response.

    Args:
        exporter: An exporter whose responses are captured.
        heard: Its capture.
        otherwise: Judges an attempt without a captured response.

    ``renew`` is called in a forked child, whose inherited connections are the parent's: two
    processes that share one read each other's responses.
    """

    def __init__(
        self,
        exporter: LogRecordExporter | SpanExporter,
        heard: Capturing,
        *,
        otherwise: Callable[[Sequence[Any], object], ExportOutcome],
    ) -> None:
        self._exporter: Any = exporter
        self._heard, self._otherwise = heard, otherwise
        self._encode: Encode | None = None
        self._process = os.getpid()

    def encode_with(self, encode: Encode) -> bool:
        """Send requests that are encoded here, if the exporter allows it.

        Returns:
            Whether it does.
        """
        if self._heard.takes_requests:
            self._encode = encode
        return self._heard.takes_requests

    def __call__(self, batch: Sequence[Any]) -> ExportOutcome:
        """Export a batch once, and return the outcome."""
        request = self._request(batch)
        with suppress_recording(), self._heard.capture.attempt(len(batch), request) as attempt:
            if self._process != os.getpid():
                self._process = os.getpid()
                self._heard.renew()
            if request is None:
                result = self._export(batch)
            else:
                result = self._export(CountedBatch(len(batch)))
                if not attempt.sent and stated(result) is LogRecordExportResult.SUCCESS:
                    result = self._not_sent(batch, attempt)
        outcome = attempt.outcome
        # A subclass may return None; then the response alone decides.
        answer = LogRecordExportResult.SUCCESS if result is None else stated(result)
        if outcome is not None and (
            outcome.kind is not Outcome.DELIVERED or answer is LogRecordExportResult.SUCCESS
        ):
            return outcome
        return self._otherwise(batch, result)

    def _export(self, batch: Sequence[Any]) -> object:
        return contained(lambda: self._exporter.export(batch))

    def _request(self, batch: Sequence[Any]) -> bytes | None:
        """Encode a batch, unless the exporter would refuse the request's size."""
        request = None if self._encode is None else self._encode(batch)
        # The limit has no public name. The exporter itself refuses a larger request.
        longest = getattr(self._exporter, "_max_request_size", 0)
        return request if request is None or not 0 < longest < len(request) else None

    def _not_sent(self, batch: Sequence[Any], attempt: Captured) -> object:
        """Export a batch that was sent empty, using the exporter's encoder from now on."""
        self._encode = attempt.request = attempt.outcome = None
        _log.warning(
            "this version of %s does not send requests that Wakelog encodes, so its own encoder is used",
            type(self._exporter).__qualname__,
        )
        return self._export(batch)


def stated(result: object) -> LogRecordExportResult | None:
    """Return the meaning of an exporter's result, None if it is of an unknown type.

    Members of the deprecated enums, and of those for other signals, are recognized by name.
    """
    if type(result) is LogRecordExportResult:
        return result
    if issubclass(type(result), enum.Enum):
        name = object.__getattribute__(result, "_name_")
        return LogRecordExportResult.__members__.get(name)
    return None


def is_official(exporter: object) -> bool:
    """Return whether an exporter is of OpenTelemetry's own class; others may read the batch."""
    return type(exporter).__module__.startswith("opentelemetry.exporter.otlp.")


class PartialSuccess(Protocol):
    """The ``partial_success`` of a response, for log records or for spans."""

    error_message: str


def accepted(hop: str, partial: PartialSuccess, records: int) -> ExportOutcome:
    """Return the outcome of a success, including its ``partial_success``.

    Args:
        hop: The name of the next hop.
        partial: The number of rejected records with the reason, or a warning if none was rejected.
        records: The number of records in the request.
    """
    found = getattr(partial, "rejected_log_records", None)
    rejected = int(getattr(partial, "rejected_spans", 0) if found is None else found)
    rejected, reason = min(max(rejected, 0), records), readable(partial.error_message)
    if rejected:
        said = f": {reason}" if reason else ", without saying why"
        reason = f"{hop} rejected {rejected} of {records} records{said}"
    return ExportOutcome(Outcome.DELIVERED, reason, rejected=rejected)


def readable(text: str) -> str:
    """Return a foreign text as a short, printable text on one line, without secrets."""
    line = printable(_unreadable().sub(" ", without_secrets(text)).strip())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"


def within(timeout: object) -> str:
    """Return a time-out in seconds in words, empty if there is none."""
    if not isinstance(timeout, int | float):
        return ""
    return f" within {timeout:.1f}".removesuffix(".0") + " s"


def retry_delay(seconds: float) -> float | None:
    """Return how long to wait when the next hop asks for ``seconds``: an hour at most."""
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None
