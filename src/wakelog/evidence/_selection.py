"""Which records an erasure selects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from wakelog.record import MORE_ATTRIBUTES, SPAN, SPAN_START, attributes_on, is_reference, resolve
from wakelog.storage import Blobs

Matches = Callable[[dict[str, Any]], bool]
"""Tells from a record's attributes whether to erase its content."""
_SPAN_LINES = frozenset({SPAN, SPAN_START})


class SelectedLines:
    """Selects records by their attributes, and spans also by the attributes of their events.

    Args:
        matches: Selects by attributes.

    Attributes:
        spans: The ids of selected spans. All lines of such a span are selected, because each has
            only the attributes that the span had when the line was written.
    """

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self.spans: set[str] = set()

    def includes(self, data: dict[str, Any], path: Path | None) -> bool:
        """Tell whether a record is selected.

        Args:
            data: The parsed line, with its content put back. It is not changed.
            path: The segment with the line, for its blobs.
        """
        if data["id"] in self.spans:
            return True
        return any(self._matches(attributes) for attributes in _attributes_in(data, path))

    def note_span(self, data: dict[str, Any], path: Path) -> None:
        """Add a span to the selected ones if this line of it is selected."""
        if data.get("signal") in _SPAN_LINES and self.includes(data, path):
            self.spans.add(str(data["id"]))


def _attributes_in(data: dict[str, Any], path: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the attributes of a record, and of the events of a span."""
    is_span = data.get("signal") in _SPAN_LINES
    if path is not None and (
        is_reference(data.get(MORE_ATTRIBUTES)) or (is_span and is_reference(data.get("body")))
    ):
        data = orjson.loads(orjson.dumps(data))
        resolve(data, Blobs(path))
    yield attributes_on(data)
    body = data.get("body")
    events = body.get("events") if is_span and isinstance(body, dict) else None
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            yield attributes_on(event)
