"""Ends for the open spans of ended processes, each recorded once."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wakelog.errors import JournalError
from wakelog.events import renewed
from wakelog.events import semconv as s
from wakelog.journal import (
    Entry,
    Folder,
    Journal,
    Service,
    Start,
    are_ended,
    are_inherited,
    ends_among,
    folders,
    last_sign_of_life,
    load_deletions,
    note_ended,
    open_spans,
    owner_of,
    read,
)
from wakelog.otel._content import ContentPolicy, without_content
from wakelog.otel._fields import scope_fields
from wakelog.otel._leftovers import OwnJournal
from wakelog.otel._settings import UnknownOutcome
from wakelog.record import LOGS, SPAN, SPANS, encode, rfc3339

if TYPE_CHECKING:
    from wakelog.otel._redactor import Redactor

_log = logging.getLogger("wakelog")

UNKNOWN: Final = "unknown"
PROCESS_GONE: Final = "process_gone"
IDLE: Final = "idle"
_MESSAGES: Final = {
    PROCESS_GONE: "outcome unknown: the process ended before the span did",
    IDLE: "outcome unknown: nothing happened in the span for too long",
}


class SpanSources(OwnJournal):
    """The spans of this process and of ended processes, which get their missing ends.

    The ends are written to this process's own journal, before the folder in which they are missing
    is delivered and released.

    Args:
        journal: This process's journal of spans.
        presumed: As for ``OwnJournal``.
        ending: Returns the recorder of missing ends for a journal.
    """

    def __init__(
        self,
        journal: Journal,
        presumed: Service | None = None,
        *,
        ending: Callable[[Journal], MissingEnds],
    ) -> None:
        super().__init__(journal, presumed)
        self._ending = ending(journal)

    def _adopted(self) -> Iterator[Folder]:
        return self._ending.after(self._journal.orphans(self._is_ours, is_unfinished))


def say_unknown(fields: dict[str, Any], outcome: UnknownOutcome, reason: str) -> None:
    """Mark the fields of a span's end with an unknown outcome.

    Args:
        fields: The fields of the line, which are changed.
        outcome: Which status the span gets.
        reason: Why the outcome is unknown.
    """
    if outcome == "error":
        fields["span"].update(status="ERROR", status_message=_MESSAGES[reason])
    said = {s.SPAN_OUTCOME: UNKNOWN, s.SPAN_OUTCOME_REASON: reason}
    fields["attributes"] = {**fields.get("attributes", {}), **said}


def is_unfinished(path: Path) -> bool:
    """Return whether a folder may have spans without an end."""
    return not are_ended(path)


class MissingEnds:
    """Records the missing ends of spans of ended processes, once.

    Args:
        journal: The journal of spans for the ends, of the same service and pipeline.
        outcome: How to export spans that never ended.
        policy: Where the content of Wakelog's own events may go.
        max_line_bytes: The maximum size of a line, in bytes.
        redactor: Redacts the events that are added.
        erasable: Whether content is stored outside the line, in a file that can be deleted.
        ended: Called with the number of spans that have got an end.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        outcome: UnknownOutcome,
        policy: ContentPolicy,
        max_line_bytes: int,
        redactor: Redactor | None = None,
        erasable: bool = False,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._ended = ended
        self._redactor = redactor
        self._erasable = erasable
        self._journal = journal
        self._outcome, self._policy = outcome, policy
        self._max_line_bytes = max_line_bytes
        # Folders with spans that a forked child may still end.
        self._inherited: set[Path] = set()

    def after(self, adopted: Iterator[Folder]) -> Iterator[Folder]:
        """Yield adopted folders, each after the missing ends of its spans have been recorded."""
        for folder in adopted:
            try:
                path = folder.path
                waits = path in self._inherited and are_inherited(path)
                if is_unfinished(path) and not waits:
                    self._end_spans(path)
            except JournalError as error:
                _log.warning("spans without an end are left as they are for now: %s", error)
            except BaseException:
                folder.release()
                raise
            yield folder

    def _end_spans(self, path: Path) -> None:
        # Asked first: a child that does not hold it any more has recorded its ends before.
        inherited = are_inherited(path)
        found = open_spans(path)
        starts = dict(found.starts)
        if starts and self._outcome != "drop":
            # A forked child may have ended its parent's span, and an earlier process may have
            # recorded ends and died before noting it.
            for other in self._others(path):
                for record_id in ends_among(other, starts.keys()):
                    del starts[record_id]
            if starts and inherited:
                self._inherited.add(path)
                return
        if starts and self._outcome != "drop":
            until = max(found.last_time, last_sign_of_life(path))
            events, missing = self._events_of(path, starts)
            for record_id, start in starts.items():
                self._end(record_id, start, until, events[record_id], missing=missing)
            self._ended(len(starts))
            _log.warning(
                "%d spans had not ended when their process did; they are exported with outcome "
                "unknown: %s",
                len(starts),
                path,
            )
        note_ended(path, len(starts))

    def _end(
        self,
        record_id: str,
        start: Start,
        until: int,
        events: list[dict[str, Any]],
        *,
        missing: bool,
    ) -> None:
        """Record the missing end of a span."""
        record = start.record
        began = record.timestamp or until
        about: dict[str, Any] = {**(record.span or {}), "start": rfc3339(began)}
        attributes = dict(record.attributes)
        if missing:
            attributes[s.EVENTS_MISSING] = True
        body = record.body if isinstance(record.body, dict) else {}
        if events:
            body = {**body, "events": [*body.get("events", ()), *events]}
        fields: dict[str, Any] = {
            "signal": SPAN,
            "timestamp": rfc3339(max(began, until)),
            "trace_id": record.trace_id,
            "span_id": record.span_id,
            "trace_flags": record.trace_flags,
            "span": about,
            **({"body": body} if body else {}),
            "attributes": attributes,
        }
        say_unknown(fields, self._outcome, PROCESS_GONE)
        scope = (
            b""
            if record.scope is None
            else encode({"scope": scope_fields(record.scope)}, sys.maxsize)
        )
        content = encode(
            fields,
            self._max_line_bytes,
            staying=s.IDENTITY,
            apart=s.CONTENT if self._erasable else frozenset(),
            ending=scope,
        )
        self._journal.append(record_id, content, start.resource)

    def _others(self, path: Path) -> Iterator[Path]:
        """Yield the other folders with spans of the same service."""
        mine = owner_of(path)
        for other in folders(self._journal.root):
            owner = owner_of(other)
            if (
                other != path
                and owner is not None
                and owner.signal == SPANS
                and (mine is None or owner.service == mine.service)
            ):
                yield other

    def _events_of(
        self, path: Path, starts: dict[str, Start]
    ) -> tuple[defaultdict[str, list[dict[str, Any]]], bool]:
        """Return the events that the process recorded in its spans, and whether some are gone."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        missing = False
        mine = owner_of(path)
        if mine is None or not mine.process:
            return found, missing
        for other in folders(self._journal.root):
            owner = owner_of(other)
            if owner is None or (owner.process, owner.signal) != (mine.process, LOGS):
                continue
            missing |= load_deletions(other).segment > 0
            for entry in read(other):
                record_id = f"{entry.record.trace_id}-{entry.record.span_id}"
                if record_id in starts and entry.record.event_name:
                    found[record_id].append(self._event(entry))
        return found, missing

    def _event(self, entry: Entry) -> dict[str, Any]:
        record = renewed(entry.record)
        attributes = record.attributes
        if (
            record.scope is not None
            and record.scope.name == s.SCOPE_NAME
            and not self._policy.spans
        ):
            attributes = without_content(attributes)
        time = record.timestamp or record.observed_timestamp
        fields = {
            "name": record.event_name,
            **({"timestamp": time} if time else {}),
            **({"attributes": attributes} if attributes else {}),
        }
        if self._redactor is not None:
            self._redactor.part(fields)
        return fields
