"""Hearing what the next hop answers, behind the back of an exporter that keeps it to itself.

The official exporters reduce an answer to success or failure, repeat what they take for passing
trouble, and log every attempt. So the part of them that talks to the wire is wrapped: the answer is
judged there, and the exporter is told that all is well. Then it has nothing to repeat and nothing
to log, and there is one attempt for each export. Whoever else uses the same exporter gets the answers
as they are.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from wakelog.otel._quiet import quietly
from wakelog.otel._verdict import Outcome, Verdict

LONGEST_RETRY_AFTER = 3600.0
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


class Hearing(threading.local):
    """What the attempt that is under way in this thread has been answered.

    Attributes:
        listening: Whether an attempt of ours is under way.
        records: How many records are in it.
        verdict: What was heard so far, None for nothing.
    """

    listening = False
    records = 0
    verdict: Verdict | None = None

    @contextmanager
    def attempt(self, records: int) -> Iterator[None]:
        """Listen to what happens in this thread inside the block."""
        self.listening, self.records, self.verdict = True, records, None
        try:
            yield
        finally:
            self.listening = False

    def hear(self, verdict: Verdict) -> None:
        """Note an answer. When an attempt makes several requests, all have to be delivered."""
        before = self.verdict
        if before is None:
            self.verdict = verdict
        elif before.outcome is Outcome.DELIVERED:
            both = min(before.rejected + verdict.rejected, self.records)
            self.verdict = replace(verdict, reason=verdict.reason or before.reason, rejected=both)


class HearingJudge:
    """Judges by what was answered on the wire.

    Args:
        exporter: An exporter whose wire is listened to.
        hearing: Where the answers are noted.
        otherwise: Judges an attempt in which nothing was heard.
        renew: Gives the exporter connections of its own. Called in a forked child, whose
            inherited ones are the parent's: two processes that share a connection read each
            other's answers.
    """

    def __init__(
        self,
        exporter: LogRecordExporter,
        hearing: Hearing,
        *,
        otherwise: Callable[
            [Sequence[ReadableLogRecord], LogRecordExportResult | Exception | None], Verdict
        ],
        renew: Callable[[], None],
    ) -> None:
        self._exporter, self._hearing = exporter, hearing
        self._otherwise, self._renew = otherwise, renew
        self._process = os.getpid()

    def __call__(self, batch: Sequence[ReadableLogRecord]) -> Verdict:
        """Export a batch, once, and say what came of it."""
        result: LogRecordExportResult | Exception | None
        with quietly(), self._hearing.attempt(len(batch)):
            if self._process != os.getpid():
                self._process = os.getpid()
                self._renew()
            try:
                result = self._exporter.export(batch)
            except Exception as error:  # noqa: BLE001 - an exporter may raise anything, and the answer is a verdict
                result = error
        verdict = self._hearing.verdict
        if verdict is not None and (
            verdict.outcome is not Outcome.DELIVERED or result is LogRecordExportResult.SUCCESS
        ):
            return verdict
        return self._otherwise(batch, result)


def accepted(hop: str, rejected: int, message: str, records: int) -> Verdict:
    """Say what a success proves, with what ``partial_success`` says in it.

    Args:
        hop: Who answered.
        rejected: How many records it says it has thrown away.
        message: Its reason, or a warning when it has rejected nothing.
        records: How many records the request had.
    """
    rejected, reason = min(max(rejected, 0), records), readable(message)
    if rejected:
        said = f": {reason}" if reason else ", without saying why"
        reason = f"{hop} rejected {rejected} of {records} records{said}"
    return Verdict(Outcome.DELIVERED, reason, rejected=rejected)


def named(address: str) -> str:
    """Return an address as it may be printed: without user, password and query."""
    try:
        parts = urlsplit(address)
        if parts.netloc:
            host = parts.netloc.rpartition("@")[2]
            return parts._replace(netloc=host, query="", fragment="").geturl()
    except ValueError:
        pass
    return address.rpartition("@")[2]


def readable(text: str) -> str:
    """Return what somebody else wrote as a short text on one line."""
    line = _UNREADABLE.sub(" ", text).strip()
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"


def within(timeout: object) -> str:
    """Return a time-out in seconds in words, empty when there is none."""
    if not isinstance(timeout, int | float):
        return ""
    return f" within {timeout:.1f}".removesuffix(".0") + " s"


def patience(seconds: float) -> float | None:
    """Return how long to leave the next hop alone when it asks for ``seconds``: an hour at most."""
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None
