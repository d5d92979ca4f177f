"""The outcome of an export attempt.

With the official OTLP exporters the next hop's response decides; with any other exporter, its
result.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter

from wakelog.delivery import ExportOutcome, Outcome, suppress_recording
from wakelog.otel._requests import DIRECT_ENCODING
from wakelog.otel._response_capture import (
    LOGS,
    TRACES,
    CapturedAttempt,
    Encode,
    ExportAttempt,
    readable,
    stated,
)
from wakelog.otel._settings import flag
from wakelog.record import text_of
from wakelog.runtime import contained

_log = logging.getLogger("wakelog")

# The official exporters: module, class, the module that captures their responses, and the signal.
_OTLP, _HTTP, _GRPC = "opentelemetry.exporter.otlp.proto", "_http_answers", "_grpc_answers"
_OFFICIAL = (
    (f"{_OTLP}.http._log_exporter", "OTLPLogExporter", _HTTP, LOGS),
    (f"{_OTLP}.grpc._log_exporter", "OTLPLogExporter", _GRPC, LOGS),
    (f"{_OTLP}.http.trace_exporter", "OTLPSpanExporter", _HTTP, TRACES),
    (f"{_OTLP}.grpc.trace_exporter", "OTLPSpanExporter", _GRPC, TRACES),
)


def attempt_through(exporter: LogRecordExporter | SpanExporter) -> ExportAttempt:
    """Return a function that exports a batch once and returns the outcome.

    Args:
        exporter: Any exporter. The responses to an official OTLP exporter are captured from now on;
            it keeps all its settings, and does not retry by itself in attempts made here.
    """
    attempt = _StatedAttempt(exporter)
    capture_responses = _capture_of(exporter)
    if capture_responses is None:
        return attempt
    captured = capture_responses(exporter)
    if captured is None:
        _log.warning(
            "this version of %s cannot be listened to, so what it reports is believed: a redirect "
            "or a partial success counts as delivered",
            type(exporter).__qualname__,
        )
        return attempt
    return CapturedAttempt(exporter, captured, otherwise=attempt.unanswered)


def encode_for(attempt: ExportAttempt, encode: Encode) -> bool:
    """Encode requests here, if the exporter allows it and ``WAKELOG_DIRECT_ENCODING`` is not off.

    Args:
        attempt: The return value of ``attempt_through``.
        encode: Encodes the request for a batch.

    Returns:
        Whether requests are encoded here.

    Raises:
        ConfigurationError: If ``WAKELOG_DIRECT_ENCODING`` is not a boolean.
    """
    wanted = flag(None, DIRECT_ENCODING, default=True)
    return wanted and isinstance(attempt, CapturedAttempt) and attempt.encode_with(encode)


def _capture_of(exporter: LogRecordExporter | SpanExporter) -> Any:
    # An official exporter's module has been imported by its user, so it is looked up, not imported.
    for name, kind, answers, signal in _OFFICIAL:
        module = sys.modules.get(name)
        if module is not None and isinstance(exporter, getattr(module, kind)):
            from importlib import import_module

            capture_responses = import_module(f"wakelog.otel.{answers}").capture_responses
            return partial(capture_responses, signal=signal)
    return None


class _StatedAttempt:
    """Judges an attempt by the exporter's return value or exception.

    Args:
        exporter: Any exporter.
    """

    def __init__(self, exporter: LogRecordExporter | SpanExporter) -> None:
        self._exporter: Any = exporter
        self._name = type(exporter).__name__
        self._said_nothing = False

    def __call__(self, batch: Sequence[Any]) -> ExportOutcome:
        """Export a batch once, and return the outcome."""
        with suppress_recording():
            result: object = contained(lambda: self._exporter.export(batch))
        return self._outcome_of(result)

    def unanswered(self, batch: Sequence[Any], result: object) -> ExportOutcome:
        """Judge an attempt in which an official exporter sent nothing."""
        if result is None or stated(result) is LogRecordExportResult.SUCCESS:
            return self._outcome_of(result)
        with suppress_recording():
            size = _encoded_size(batch)
        if isinstance(size, Exception):
            return ExportOutcome(Outcome.REJECTED, f"cannot be encoded: {_said(size)}")
        limit = getattr(self._exporter, "_max_request_size", 0)
        if 0 < limit < size:
            reason = f"{size} bytes are more than the exporter's max_request_size of {limit}"
            return ExportOutcome(Outcome.TOO_LARGE, reason)
        if isinstance(result, BaseException):
            return ExportOutcome(Outcome.RETRYABLE, f"{self._name} raised {_said(result)}")
        return ExportOutcome(Outcome.RETRYABLE, f"{self._name} sent nothing; it may be shut down")

    def _outcome_of(self, result: object) -> ExportOutcome:
        answer = stated(result)
        if answer is LogRecordExportResult.SUCCESS:
            return ExportOutcome(Outcome.DELIVERED)
        if result is None:
            if not self._said_nothing:
                self._said_nothing = True
                _log.warning(
                    "%s.export() returns None and not an export result: a batch counts as "
                    "delivered unless it raises an exception",
                    self._name,
                )
            return ExportOutcome(Outcome.DELIVERED)
        if isinstance(result, BaseException):
            outcome = Outcome.REJECTED if _blames_a_record(result) else Outcome.RETRYABLE
            return ExportOutcome(outcome, f"{self._name} raised {_said(result)}")
        if answer is LogRecordExportResult.FAILURE:
            return ExportOutcome(Outcome.RETRYABLE, f"{self._name} reported a failure")
        said = readable(_shown(result))
        of_spans = isinstance(self._exporter, SpanExporter)
        expected = "SpanExportResult" if of_spans else "LogRecordExportResult"
        reason = f"{self._name} returned {said}, not {expected}.SUCCESS"
        return ExportOutcome(Outcome.RETRYABLE, reason)


def _encoded_size(batch: Sequence[Any]) -> int | Exception:
    """Return the size of a batch in bytes as the official encoder encodes it, or its exception."""
    try:
        if isinstance(batch[0], ReadableSpan):
            from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

            return len(encode_spans(batch).SerializeToString())
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

        return len(encode_logs(batch).SerializeToString())
    except Exception as error:  # noqa: BLE001 - the encoder raises bare exceptions
        return error


def _blames_a_record(error: BaseException) -> bool:
    """Return whether an exception is of a type that hardly ever has a cause other than encoding.

    A plain ``ValueError`` is not: a broken response or a wrong address also raises it. In doubt the
    batch is sent again, so that no good record becomes a dead letter.
    """
    from google.protobuf.message import EncodeError

    return isinstance(
        error, TypeError | UnicodeEncodeError | OverflowError | RecursionError | EncodeError
    )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {readable(text_of(error))}".removesuffix(": ")


def _shown(answer: object) -> str:
    try:
        return repr(answer)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide that the batch is pending
        return text_of(answer)
