"""Which records of a batch the next hop takes, and which it never will.

A batch that is refused is halved until the guilty record stands alone. It is called guilty only when
the next hop has taken another one meanwhile: a server that refuses everything, at a wrong path or for
a wrong tenant, says nothing about any record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.events import semconv as s
from wakelog.journal import Entry, set_aside
from wakelog.journal._dead_letters import line_of
from wakelog.otel._verdict import Judge, Outcome, Verdict

_LONGEST_REASON = 1000
_WORDS = {
    Outcome.REFUSED: "refused",
    Outcome.TOO_LARGE: "too_large",
    Outcome.DELIVERED: "rejected",
}


class Sorter:
    """Brings a batch to the next hop, down to single records where it has to.

    Records are dealt with in their order, so that those that have been are always the first ones.

    Args:
        judge: Exports a batch and says what came of it.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._takes_others = False

    def send(
        self,
        batch: Sequence[ReadableLogRecord],
        entries: Sequence[Entry],
        folder: Path,
        settled: Callable[[int, int], None],
    ) -> Verdict | None:
        """Send a batch.

        Args:
            batch: The records.
            entries: What they were made from.
            folder: Their writer's folder, where guilty ones are set aside.
            settled: Told how many more records, from the first on, have been dealt with, and how
                many of those were set aside.

        Returns:
            The verdict at which it stopped, or None when every record has been dealt with.

        Raises:
            JournalError: When a guilty record could not be set aside.
        """
        self._takes_others = False
        parts = [(0, len(batch))]
        while parts:
            start, end = parts.pop()
            verdict = self._judge(batch[start:end])
            if verdict.outcome is Outcome.PENDING:
                return verdict
            if verdict.outcome is Outcome.DELIVERED:
                self._takes_others |= verdict.rejected < end - start
                if not verdict.rejected:
                    settled(end - start, 0)
                    continue
            if end - start > 1:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
                continue
            stopped = self._try(batch, entries, folder, start, verdict)
            if stopped is not None:
                return stopped
            settled(1, 1)
        return None

    def _try(
        self,
        batch: Sequence[ReadableLogRecord],
        entries: Sequence[Entry],
        folder: Path,
        place: int,
        verdict: Verdict,
    ) -> Verdict | None:
        """Set one record aside, unless the next hop takes no others either."""
        entry = entries[place]
        reason = verdict.reason.encode(errors="replace").decode()
        outcome = _WORDS[verdict.outcome]
        size = len(line_of(folder, entry))
        answer = self._judge([_stand_in(entry, batch[place], outcome, reason, size)])
        if answer.outcome is Outcome.PENDING:
            return answer
        if not (self._takes_others or _taken(answer)):
            # It may be the stand-in that is not liked, so a neighbour is asked too.
            neighbour = batch[place + 1 : place + 2] or batch[place - 1 : place]
            answer = self._judge(neighbour) if neighbour else answer
            if not _taken(answer):
                reason = f"it takes neither this record nor others: {reason}"
                return Verdict(Outcome.PENDING, reason, verdict.retry_after)
        self._takes_others = True
        set_aside(folder, entry, outcome, reason)
        return None


def _taken(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.DELIVERED and not verdict.rejected


def _stand_in(
    entry: Entry, readable: ReadableLogRecord, outcome: str, reason: str, size: int
) -> ReadableLogRecord:
    """Make the small event that says downstream which record is missing, and why.

    Its own id follows from the record's, so that a second copy of it is known as one.
    """
    record = entry.record
    attributes: dict[str, str | int] = {
        s.LOG_RECORD_UID: f"{record.id}.dead_letter",
        s.WRITER_ID: entry.writer,
        s.SEQ: record.seq,
        s.DEAD_LETTER_UID: record.id,
        s.DEAD_LETTER_EVENT_NAME: record.event_name or "",
        s.DEAD_LETTER_OUTCOME: outcome,
        s.DEAD_LETTER_REASON: reason[:_LONGEST_REASON],
        s.DEAD_LETTER_SIZE: size,
    }
    original = readable.log_record
    stand_in = LogRecord(
        timestamp=original.timestamp,
        observed_timestamp=original.observed_timestamp,
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        event_name=s.DEAD_LETTER_EVENT,
        attributes=attributes,
    )
    stand_in.trace_id, stand_in.span_id = original.trace_id, original.span_id
    stand_in.trace_flags = original.trace_flags
    return ReadableLogRecord(
        log_record=stand_in,
        resource=readable.resource,
        instrumentation_scope=InstrumentationScope(s.SCOPE_NAME),
        limits=LogRecordLimits(),
    )
