"""Captures the OTLP response that the official exporters reduce to success or failure.

The official exporters repeat what they take for passing
trouble, and log every attempt. So the part of them that talks to the wire is wrapped: the answer is
judged there, and the exporter is told that all is well. Then it has nothing to repeat and nothing
to log, and there is one attempt for each export. Whoever else uses the same exporter gets the answers
as they are.
"""

from __future__ import annotations

import enum
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
# Few servers have a status of its own for it, and each says it in its own words: C++, Go, Java, .NET,
# Rust over gRPC, and the Collector (Go) over HTTP.
SAYS_TOO_LARGE = re.compile(
    r"larger than max|exceeds? (the )?max|(message|message length|request body) too large"
    r"|http2 header with status: 413",
    re.IGNORECASE,
)
_LONGEST_MESSAGE = 300
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


LOGS, TRACES = "logs", "traces"
"""The signals, as the paths of OTLP over HTTP and its variables name them."""
Encode = Callable[[Sequence[Any]], "bytes | None"]
"""Writes the request for a batch, None where only the exporter can."""
ExportAttempt = Callable[[Sequence[Any]], ExportOutcome]
"""Exports a batch, once, and says what came of it. It does not raise."""


class Captured:
    """One export, and what was answered to it.

    Attributes:
        records: How many records are in it.
        request: What is to be sent in place of what the exporter encodes, None for that itself.
        sent: Whether it was.
        outcome: What was heard so far, None for nothing.
    """

    def __init__(self, records: int, request: bytes | None) -> None:
        self.records = records
        self.request = request
        self.sent = False
        self.outcome: ExportOutcome | None = None


class ResponseCapture:
    """What the attempt that is under way in this thread is answered.

    Args:
        signal: What is exported.
    """

    def __init__(self, signal: str = LOGS) -> None:
        self.signal = signal
        self._attempt = PerThread[Captured | None](None)

    @property
    def is_attempting(self) -> bool:
        """Whether an attempt of ours is under way."""
        return self._attempt.get() is not None

    @property
    def records(self) -> int:
        """How many records are in it."""
        attempt = self._attempt.get()
        return 0 if attempt is None else attempt.records

    def request(
        self, replace: Callable[[bytes], bytes | None] = lambda request: request
    ) -> bytes | None:
        """Return what to send in place of what the exporter has encoded, None for nothing else.

        Args:
            replace: Makes of the request what is sent; None when it cannot be.
        """
        attempt = self._attempt.get()
        if attempt is None or attempt.request is None:
            return None
        data = replace(attempt.request)
        attempt.sent = data is not None
        return data

    @contextmanager
    def attempt(self, records: int, request: bytes | None = None) -> Iterator[Captured]:
        """Listen to what happens in this thread inside the block."""
        attempt = Captured(records, request)
        with self._attempt.set(attempt):
            yield attempt

    def note(self, outcome: ExportOutcome) -> None:
        """Note an answer. When an attempt makes several requests, all have to be delivered."""
        attempt = self._attempt.get()
        if attempt is None:
            return
        before = attempt.outcome
        if before is None:
            attempt.outcome = outcome
        elif before.kind is Outcome.DELIVERED:
            both = min(before.rejected + outcome.rejected, attempt.records)
            reason = outcome.reason or before.reason
            attempt.outcome = replace(outcome, reason=reason, rejected=both)


class Capturing(NamedTuple):
    """How an exporter is listened to.

    Attributes:
        capture: Where its answers are noted.
        renew: Gives it connections of its own.
        takes_requests: Whether what it sends can be replaced, see ``_requests``.
    """

    capture: ResponseCapture
    renew: Callable[[], None]
    takes_requests: bool


class CapturedAttempt:
    """Judges by what was answered on the wire.

    Args:
        exporter: An exporter whose wire is listened to.
        heard: How it is.
        otherwise: Judges an attempt in which nothing was heard.

    ``renew`` is called in a forked child, whose inherited connections are the parent's: two processes
    that share one read each other's answers.
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
        """Send requests that are encoded here, where the exporter lets them through.

        Returns:
            Whether it does.
        """
        if self._heard.takes_requests:
            self._encode = encode
        return self._heard.takes_requests

    def __call__(self, batch: Sequence[Any]) -> ExportOutcome:
        """Export a batch, once, and say what came of it."""
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
        # A subclass may pass no answer on, which says nothing against the one on the wire.
        answer = LogRecordExportResult.SUCCESS if result is None else stated(result)
        if outcome is not None and (
            outcome.kind is not Outcome.DELIVERED or answer is LogRecordExportResult.SUCCESS
        ):
            return outcome
        return self._otherwise(batch, result)

    def _export(self, batch: Sequence[Any]) -> object:
        return contained(lambda: self._exporter.export(batch))

    def _request(self, batch: Sequence[Any]) -> bytes | None:
        """Encode a batch, where the exporter would send it."""
        request = None if self._encode is None else self._encode(batch)
        # Without a public name for it; a request above it is for the exporter to refuse.
        longest = getattr(self._exporter, "_max_request_size", 0)
        return request if request is None or not 0 < longest < len(request) else None

    def _not_sent(self, batch: Sequence[Any], attempt: Captured) -> object:
        """Export the records of a batch that the exporter has sent empty, and do so from now on."""
        self._encode = attempt.request = attempt.outcome = None
        _log.warning(
            "this version of %s sends nothing that it has not encoded itself, so its own encoder is used",
            type(self._exporter).__qualname__,
        )
        return self._export(batch)


def stated(result: object) -> LogRecordExportResult | None:
    """Return what an exporter's answer says, None when it is of no known kind.

    Answers of the deprecated enums, and of those for other signals, say what their names say.
    """
    if type(result) is LogRecordExportResult:
        return result
    if issubclass(type(result), enum.Enum):
        name = object.__getattribute__(result, "_name_")
        return LogRecordExportResult.__members__.get(name)
    return None


def is_official(exporter: object) -> bool:
    """Tell whether an exporter is one of OpenTelemetry's own; a user's may look at what it is given."""
    return type(exporter).__module__.startswith("opentelemetry.exporter.otlp.")


class PartialSuccess(Protocol):
    """What a receiver says of a request that it has taken; of log records or of spans."""

    error_message: str


def accepted(hop: str, partial: PartialSuccess, records: int) -> ExportOutcome:
    """Say what a success proves, with what ``partial_success`` says in it.

    Args:
        hop: Who answered.
        partial: How many records it says it has thrown away, and its reason, or a warning when it has
            rejected nothing.
        records: How many records the request had.
    """
    found = getattr(partial, "rejected_log_records", None)
    rejected = int(getattr(partial, "rejected_spans", 0) if found is None else found)
    rejected, reason = min(max(rejected, 0), records), readable(partial.error_message)
    if rejected:
        said = f": {reason}" if reason else ", without saying why"
        reason = f"{hop} rejected {rejected} of {records} records{said}"
    return ExportOutcome(Outcome.DELIVERED, reason, rejected=rejected)


def readable(text: str) -> str:
    """Return what somebody else wrote as a short text on one line."""
    line = printable(_UNREADABLE.sub(" ", without_secrets(text)).strip())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"


def within(timeout: object) -> str:
    """Return a time-out in seconds in words, empty when there is none."""
    if not isinstance(timeout, int | float):
        return ""
    return f" within {timeout:.1f}".removesuffix(".0") + " s"


def retry_delay(seconds: float) -> float | None:
    """Return how long to leave the next hop alone when it asks for ``seconds``: an hour at most."""
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None
