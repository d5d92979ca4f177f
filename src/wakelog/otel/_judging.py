"""Finding out what an export attempt proved.

With the official OTLP exporters it is the next hop's own answer that counts; with any other exporter
it is the result.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from wakelog.otel._hearing import HearingJudge, readable
from wakelog.otel._quiet import quietly
from wakelog.otel._verdict import Judge, Outcome, Verdict

_log = logging.getLogger("wakelog")

_OFFICIAL = {
    "opentelemetry.exporter.otlp.proto.http._log_exporter": "wakelog.otel._http_answers",
    "opentelemetry.exporter.otlp.proto.grpc._log_exporter": "wakelog.otel._grpc_answers",
}


def judge_for(exporter: LogRecordExporter) -> Judge:
    """Return what exports a batch through an exporter, once, and says what came of it.

    Args:
        exporter: Any exporter. To one of the official OTLP exporters it listens from now on; it
            keeps all its settings, and does no more retries of its own in attempts made here.
    """
    judge = _ResultJudge(exporter)
    listen = _listen_to(exporter)
    if listen is None:
        return judge
    heard = listen(exporter)
    if heard is None:
        _log.warning(
            "this version of %s cannot be listened to, so what it reports is believed: a redirect "
            "or a partial success counts as delivered",
            type(exporter).__qualname__,
        )
        return judge
    hearing, renew = heard
    return HearingJudge(exporter, hearing, otherwise=judge.judge_unheard, renew=renew)


def _listen_to(exporter: LogRecordExporter) -> Any:
    # Who has such an exporter has imported its module, so nothing is imported for the others.
    for name, answers in _OFFICIAL.items():
        module = sys.modules.get(name)
        if module is not None and isinstance(exporter, module.OTLPLogExporter):
            from importlib import import_module

            return import_module(answers).listen
    return None


class _ResultJudge:
    """Judges by what an exporter returns or raises.

    Args:
        exporter: Any exporter.
    """

    def __init__(self, exporter: LogRecordExporter) -> None:
        self._exporter = exporter
        self._name = type(exporter).__name__

    def __call__(self, batch: Sequence[ReadableLogRecord]) -> Verdict:
        """Export a batch, once, and say what came of it."""
        result: object
        with quietly():
            try:
                result = self._exporter.export(batch)
            except Exception as error:  # noqa: BLE001 - an exporter may raise anything, and the answer is a verdict
                result = error
        return self._judge(result)

    def judge_unheard(
        self, batch: Sequence[ReadableLogRecord], result: LogRecordExportResult | Exception | None
    ) -> Verdict:
        """Judge an attempt of an official exporter that did not get as far as the wire."""
        if result is LogRecordExportResult.SUCCESS:
            return self._judge(result)
        with quietly():
            size = _encoded_size(batch)
        if isinstance(size, Exception):
            return Verdict(Outcome.REFUSED, f"cannot be encoded: {_said(size)}")
        limit = getattr(self._exporter, "_max_request_size", 0)
        if 0 < limit < size:
            reason = f"{size} bytes are more than the exporter's max_request_size of {limit}"
            return Verdict(Outcome.TOO_LARGE, reason)
        if isinstance(result, Exception):
            return Verdict(Outcome.PENDING, f"{self._name} raised {_said(result)}")
        return Verdict(Outcome.PENDING, f"{self._name} sent nothing; it may be shut down")

    def _judge(self, result: object) -> Verdict:
        if result is LogRecordExportResult.SUCCESS:
            return Verdict(Outcome.DELIVERED)
        if isinstance(result, Exception):
            outcome = Outcome.REFUSED if _blames_a_record(result) else Outcome.PENDING
            return Verdict(outcome, f"{self._name} raised {_said(result)}")
        if result is LogRecordExportResult.FAILURE:
            return Verdict(Outcome.PENDING, f"{self._name} reported a failure")
        reason = (
            f"{self._name} returned {readable(repr(result))}, not LogRecordExportResult.SUCCESS"
        )
        return Verdict(Outcome.PENDING, reason)


def _encoded_size(batch: Sequence[ReadableLogRecord]) -> int | Exception:
    """Return how many bytes the official encoder makes of a batch, or why it cannot."""
    try:
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

        return len(encode_logs(batch).SerializeToString())
    except Exception as error:  # noqa: BLE001 - the encoder raises bare exceptions
        return error


def _blames_a_record(error: Exception) -> bool:
    """Tell whether an exception is of the kinds that come from encoding a value, and from little else.

    A plain ``ValueError`` is not: it also comes from a broken answer or a wrong address. In doubt the
    batch is sent again, because a good record would be set aside.
    """
    from google.protobuf.message import EncodeError

    return isinstance(
        error, TypeError | UnicodeEncodeError | OverflowError | RecursionError | EncodeError
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {readable(str(error))}".removesuffix(": ")
