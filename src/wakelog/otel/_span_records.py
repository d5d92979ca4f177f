"""Rebuilding of spans from their lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import AnyValue

from wakelog.journal import Entry, LaterEntry
from wakelog.otel._export_attempt import encode_for
from wakelog.otel._export_pipeline import Signal
from wakelog.otel._origins import Origins
from wakelog.otel._rebuilder import as_the_sdk_has_it
from wakelog.otel._response_capture import ExportAttempt
from wakelog.otel._span_encoder import LineSpan, SpanEncoder
from wakelog.otel._span_fields import KINDS
from wakelog.otel._substitutes import previewed
from wakelog.record import Record, UnreadRecord, parse_rfc3339

_KINDS: Final = {name: kind for kind, name in KINDS.items()}
_STATUS_CODES: Final = {code.name: code for code in StatusCode}
_UNSET: Final = Status(StatusCode.UNSET)


# The maximum size of a span's parts in the second attempt after a refusal as too large.
_SMALL_PART = 4 * 1024


class SpanRebuilder:
    """Rebuilds spans from lines, as the SDK's own processor would have exported them."""

    def __init__(self) -> None:
        self._origins = Origins()
        self._encoder = SpanEncoder()
        self.encodes = False
        """Whether requests are encoded here."""
        # Bound once, because binding it for each span takes time.
        self._rebuild = self.rebuild

    def prepare(self, entry: Entry, replayed: bool = False) -> ReadableSpan:  # noqa: FBT001, FBT002 - given for every span
        """Return a span that is rebuilt only when a field is read.

        Args:
            entry: The entry with the line.
            replayed: As in ``rebuild``.

        Returns:
            The span. If its line is unusual, or spans are not encoded here, it has already been
            rebuilt.

        Raises:
            ValueError: As ``rebuild``.
        """
        line: bytes
        if type(entry) is LaterEntry:
            line = entry.line
        elif type(record := entry.record) is UnreadRecord:
            line = record.line
        else:
            return self.rebuild(entry, replayed=replayed)
        if not self.encodes:
            return self.rebuild(entry, replayed=replayed)
        found = self._encoder.encode(line)
        if found is None:
            return self.rebuild(entry, replayed=replayed)
        encoded, trace_id, span_id = found
        return LineSpan(
            self._rebuild,
            entry,
            encoded,
            (trace_id, span_id),
            self._origins.resource(entry.resource),
            self._origins.scope_on(line),
        )

    def request(self, batch: Sequence[ReadableSpan]) -> bytes | None:
        """Encode the OTLP request for spans of ``prepare``; see ``SpanEncoder.request``."""
        return self._encoder.request(batch)

    def rebuild(self, entry: Entry, *, replayed: bool = False) -> ReadableSpan:  # noqa: ARG002 - a span is not marked
        """Return the span of a line.

        Args:
            entry: The entry with the line.
            replayed: Whether it has waited for an outage to end. A span is not marked: nothing is
                added to it.

        Returns:
            The span.

        Raises:
            ValueError: If it is not sampled; the SDK does not export such spans.
        """
        return self._made(entry.record, entry)

    def smaller(self, entry: Entry, replayed: bool) -> ReadableSpan | None:  # noqa: ARG002, FBT001 - as for log records
        """Return a copy with previews of large values, for a next hop that refuses its size.

        Args:
            entry: The entry with the line.
            replayed: As for ``rebuild``.

        Returns:
            The span, None if no value can be shortened.
        """
        record = entry.record
        small = previewed(replace(record, body=None), record.attributes, _SMALL_PART)
        body = dict(record.body) if isinstance(record.body, dict) else {}
        for part in ("events", "links"):
            body[part] = [_smaller_part(one) for one in body.get(part, ())]
        if small.attributes == record.attributes and body == record.body:
            return None
        return self._made(replace(small, body=body), entry)

    def _made(self, record: Record, entry: Entry) -> ReadableSpan:
        if not record.trace_flags & TraceFlags.SAMPLED:
            message = "it is not sampled"
            raise ValueError(message)
        about: Mapping[str, Any] = record.span or {}
        body: Mapping[str, Any] = record.body if isinstance(record.body, dict) else {}
        trace_id = int(record.trace_id or "0", 16)
        start = about.get("start")
        parent = about.get("parent")
        return ReadableSpan(
            name=about.get("name", ""),
            context=SpanContext(
                trace_id,
                int(record.span_id or "0", 16),
                is_remote=bool(about.get("remote")),
                trace_flags=TraceFlags(record.trace_flags),
                trace_state=_state(about.get("trace_state")),
            ),
            parent=None if parent is None else _context(parent, trace_id),
            resource=self._origins.resource(entry.resource),
            attributes=_attributes(record.attributes, about.get("dropped_attributes", 0)),
            events=_bounded(
                [_event(one) for one in body.get("events", ())], about.get("dropped_events", 0)
            ),
            links=_bounded(
                [_link(one) for one in body.get("links", ())], about.get("dropped_links", 0)
            ),
            kind=_KINDS.get(about.get("kind", "internal"), SpanKind.INTERNAL),
            status=_status(about),
            start_time=record.timestamp if start is None else parse_rfc3339(start),
            end_time=record.timestamp,
            instrumentation_scope=self._origins.scope(record.scope),
        )


def spans(rebuilder: SpanRebuilder) -> Signal:
    """Return the signal for spans, which the rebuilder makes from lines.

    Dead letters have no stand-in: it would be a span that the program never had.
    """

    def exported_by(attempt: ExportAttempt) -> None:
        rebuilder.encodes = encode_for(attempt, rebuilder.request)

    return Signal(
        BatchSpanProcessor,
        BatchSpanProcessor.on_end,
        rebuilder.prepare,
        rebuilder.smaller,
        lambda *_: None,
        exported_by,
    )


def _smaller_part(fields: dict[str, Any]) -> dict[str, Any]:
    attributes = fields.get("attributes")
    if not attributes:
        return fields
    small = previewed(Record("", 0), attributes, _SMALL_PART)
    return {**fields, "attributes": small.attributes}


def _status(about: Mapping[str, Any]) -> Status:
    code = _STATUS_CODES.get(about.get("status", ""))
    if code is None:
        return _UNSET
    return Status(code, about.get("status_message"))


def _context(fields: Mapping[str, Any], trace_id: int) -> SpanContext:
    given = fields.get("trace_id")
    return SpanContext(
        trace_id if given is None else int(given, 16),
        int(fields["span_id"], 16),
        is_remote=bool(fields.get("remote")),
        trace_flags=TraceFlags(fields.get("trace_flags", 0)),
        trace_state=_state(fields.get("trace_state")),
    )


def _state(pairs: Any) -> TraceState:
    return TraceState([(key, value) for key, value in pairs or ()])


def _event(fields: Mapping[str, Any]) -> Event:
    attributes = _attributes(fields.get("attributes") or {}, fields.get("dropped_attributes", 0))
    # The line has a number beyond signed 64 bits as text.
    return Event(fields["name"], attributes, int(fields.get("timestamp", 0)))


def _link(fields: Mapping[str, Any]) -> Link:
    attributes = _attributes(fields.get("attributes") or {}, fields.get("dropped_attributes", 0))
    return Link(_context(fields, 0), attributes)


def _bounded(items: list[Any], dropped: int) -> Any:
    if not dropped:
        return items
    bounded: Any = BoundedList.from_seq(None, items)
    bounded.dropped = dropped
    return bounded


def _attributes(values: dict[str, Any], dropped: int) -> Mapping[str, AnyValue]:
    plain = {
        name: as_the_sdk_has_it(value) if type(value) in (list, dict) else value
        for name, value in values.items()
    }
    if not dropped:
        return cast("Mapping[str, AnyValue]", plain)
    bounded = BoundedAttributes(None, cast("Mapping[str, AnyValue]", plain))
    bounded.dropped = dropped
    return bounded
