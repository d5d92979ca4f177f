"""Matching records with a selection while they are being written."""

from __future__ import annotations

from typing import Final

from wakelog.events import event_type_of, repeats
from wakelog.events import semconv as s
from wakelog.index._search import stands_in
from wakelog.index._selection import Selection, kinds_of
from wakelog.record import Record

_ERROR_SEVERITY: Final = 17


class Match:
    """Tells whether records match a selection, like the index does.

    Args:
        selection: The selection.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._kinds = kinds_of(selection.type) if selection.type is not None else ()
        self._needle = selection.text.encode().lower() if selection.text is not None else None

    def __call__(self, record: Record, writer: str | None = None) -> bool:
        """Tell whether a record matches.

        Args:
            record: The record, with its present name and attributes.
            writer: The id of its writer.
        """
        asked, attributes = self._selection, record.attributes
        begins = ((asked.session, s.CONVERSATION_ID), (asked.run, s.RUN_ID))
        exact = ((asked.agent, s.AGENT_NAME), (asked.tool, s.TOOL_NAME))
        if any(
            prefix is not None and not str(attributes.get(name) or "\0").startswith(prefix)
            for prefix, name in begins
        ) or any(value is not None and attributes.get(name) != value for value, name in exact):
            return False
        if self._kinds:
            kind = event_type_of(str(record.event_name or "log"))
            if kind not in self._kinds:
                return False
        time = record.timestamp if record.timestamp is not None else record.observed_timestamp
        if asked.since is not None and (time is None or time < asked.since):
            return False
        if asked.until is not None and (time is None or time >= asked.until):
            return False
        if asked.errors and not is_failure(record):
            return False
        if asked.writer is not None and writer != asked.writer:
            return False
        return self._needle is None or any(
            stands_in(value, self._needle)
            for value in (attributes, record.body, record.severity_text)
        )


def is_failure(record: Record) -> bool:
    """Tell whether a record reports a failure."""
    attributes, severity = record.attributes, record.severity_number
    if repeats(record):
        return False
    return (
        attributes.get(s.STATUS) == "error"
        or bool(attributes.get(s.ERROR_TYPE) or attributes.get(s.EXCEPTION_TYPE))
        or (type(severity) is int and severity >= _ERROR_SEVERITY)
    )
