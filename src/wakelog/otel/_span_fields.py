"""The fields of a span in its lines: one line for the start, and a complete one for the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.otel._fields import attributes_of, scope_fields
from wakelog.otel._redactor import Redactor
from wakelog.record import SPAN, SPAN_START, TAG, Resource, encode, is_json, rfc3339, text_of

KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
_INTERNAL: Final = SpanKind.INTERNAL
_UNSET: Final = StatusCode.UNSET
_MOST_SCOPES: Final = 1000
_LONGEST_NAME: Final = 512
# Cache of the encoded scopes, by object id; the cache holds the objects, so that no id is reused.
_scopes: dict[int, tuple[object, bytes]] = {}
# Caches of the encoded names, and of the parent of the last span.
_names: dict[object, str] = {}
_last_parent: tuple[SpanContext | None, str] = (None, "")
_LINE_BYTES: Final = 512
_PLAIN: Final = frozenset({str, int, bool})
_NUMBERS: Final = _PLAIN | {float}
_encode_native: Final = (
    None if native is None else native.SpanLineEncoder(SpanKind, StatusCode, SpanContext).encode
)
_KIND_FIELDS: Final = {kind: f',"kind":"{name}"' for kind, name in KINDS.items()}


def scope_of(span: ReadableSpan) -> bytes:
    """Return the last field of a span's line, the encoded instrumentation scope."""
    scope = span.instrumentation_scope
    known = _scopes.get(id(scope))
    if known is None:
        text = encode({"scope": scope_fields(scope)}, sys.maxsize) if scope else b""
        if len(_scopes) >= _MOST_SCOPES:
            _scopes.clear()
        known = _scopes[id(scope)] = (scope, text)
    return known[1]


class Begun:
    """The common part of the lines for a span's start and end, encoded once.

    Args:
        span: The span at its start, or at its end if its start was not recorded.
        context: Its context.
        redactor: Redacts its lines.
        erasable: Whether content is stored outside its lines, in files that can be deleted.

    Attributes:
        id: The id of its lines: trace id and span id in hexadecimal, which identify a span.
        resource: The span's resource on disk; set by the processor.
        content: The line of the start, once it is encoded.
    """

    __slots__ = (
        "_about",
        "_began",
        "_erasable",
        "_name",
        "_ordinary",
        "_redactor",
        "_scope",
        "content",
        "id",
        "resource",
    )

    def __init__(
        self,
        span: ReadableSpan,
        context: SpanContext,
        redactor: Redactor | None = None,
        *,
        erasable: bool = False,
    ) -> None:
        self.id = "%032x-%016x" % (context.trace_id, context.span_id)  # noqa: UP031 - a third faster
        self._redactor = redactor
        self._erasable = erasable
        # Whether the lines may need no ``encode``.
        self._ordinary = redactor is None and not erasable
        # The beginning of both lines, and the time of the start as text. The beginning is None
        # before it is encoded, and empty if the span needs ``encode``.
        self._about: str | None = None
        self._began = ""
        self._name: str | None = None  # with which it was encoded
        self._scope = scope_of(span)
        self.content = b""
        self.resource: Resource | None = None

    def start_line(
        self, span: ReadableSpan, context: SpanContext, max_line_bytes: int, max_event_bytes: int
    ) -> bytes:
        """Encode the middle part of the line of the start; see ``end_line``."""
        text = self._natively(span, context, max_line_bytes, ended=False)
        if text is None and self._begin(span, context) and not span.links:
            head = f',"signal":"span_start","timestamp":"{self._began}"'
            text = self._line(head, "", span)
        if text is None or not _LINE_BYTES + len(text) <= max_line_bytes <= max_event_bytes:
            text = self._checked(text, span, context, max_line_bytes, max_event_bytes)
        self.content = text
        return text

    def end_line(
        self, span: ReadableSpan, context: SpanContext, max_line_bytes: int, max_event_bytes: int
    ) -> bytes:
        """Encode the middle part of the line of the end.

        Args:
            span: The span, which is not changed.
            context: Its context.
            max_line_bytes: The maximum size of the line, in bytes.
            max_event_bytes: The maximum size of all its fields, in bytes.

        Returns:
            The same as ``wakelog.record.encode`` for ``fields_of_span``.

        Raises:
            EventTooLargeError: If it is larger than ``max_event_bytes``; with the content of a
                stub.
            RedactionError: If a detector or a strategy of the user failed.
        """
        text = self._natively(span, context, max_line_bytes, ended=True)
        ended = span.end_time
        if (
            text is None
            and self._begin(span, context)
            and span.name is self._name
            and type(ended) is int
            and not (span.links or span.events)
            and not (span.dropped_events or span.dropped_links)
        ):
            more = f',"start":"{self._began}"'
            status = span.status
            if status.status_code is not _UNSET:
                more += _status(status)
            text = self._line(f',"signal":"span","timestamp":"{rfc3339(ended)}"', more, span)
        if text is not None and _LINE_BYTES + len(text) <= max_line_bytes <= max_event_bytes:
            return text
        return self._checked(text, span, context, max_line_bytes, max_event_bytes)

    def unknown_line(
        self,
        span: ReadableSpan,
        context: SpanContext,
        end: Callable[[dict[str, Any]], None],
        at: int,
        limits: tuple[int, int],
    ) -> bytes:
        """Encode the middle part of the line of an end with unknown outcome.

        Args:
            span: The span, which is open.
            context: Its context.
            end: Adds the outcome to the fields.
            at: When it ended, in nanoseconds since 1970.
            limits: The maximum sizes of the line and of all its fields, in bytes.

        Raises:
            EventTooLargeError: As for ``end_line``.
            RedactionError: As for ``end_line``.
        """
        fields = fields_of_span(span, context, at)
        end(fields)
        return self._encoded(fields, *limits)

    def _natively(
        self, span: ReadableSpan, context: SpanContext, longest: int, *, ended: bool
    ) -> bytes | None:
        """Return a line by the compiled encoder; None without it, or if it leaves it to Python."""
        if _encode_native is None or not self._ordinary:
            return None
        text: bytes | None = _encode_native(span, context, self.id, ended, self._scope, longest)
        return text

    def _begin(self, span: ReadableSpan, context: SpanContext) -> bool:
        """Encode the beginning of both lines, once; return whether they need no ``encode``."""
        if self._about is None:
            head = _head_of(span, context) if self._ordinary else ""
            began, ids = span.start_time, self.id
            self._began = rfc3339(began) if type(began) is int else ""
            self._name = span.name
            self._about = (
                f',"trace_id":"{ids[:32]}","span_id":"{ids[33:]}"'
                f'{_flags(context.trace_flags)},"span":{{{head}'
                if head and self._began
                else ""
            )
        return bool(self._about)

    def _line(self, head: str, more: str, span: ReadableSpan) -> bytes | None:
        """Return the line of a span without events and links, None if that needs ``encode``."""
        given = span.attributes
        # A copy of the mapping behind the proxy.
        attributes = given.copy() if type(given) is MappingProxyType else given
        if attributes and type(attributes) is not dict:
            return None
        if span.dropped_attributes:
            return None
        try:
            about = f"{head}{self._about}{more}}}".encode()
            if not attributes:
                return about + self._scope
            if TAG in attributes:
                return None
            rest = orjson.dumps(attributes)
            if not _PLAIN.issuperset(map(type, attributes.values())):
                # The codec writes NaN and infinities as null.
                numbers = _NUMBERS.issuperset(map(type, attributes.values()))
                if not (numbers and b"null" not in rest) and not is_json(attributes):
                    return None
        except (TypeError, UnicodeEncodeError):  # lone surrogates, integers beyond 64 bits
            return None
        return b'%b,"attributes":%b%b' % (about, rest, self._scope)

    def _checked(
        self,
        text: bytes | None,
        span: ReadableSpan,
        context: SpanContext,
        max_line_bytes: int,
        max_event_bytes: int,
    ) -> bytes:
        if text is not None and len(text) <= min(max_line_bytes - _LINE_BYTES, max_event_bytes):
            return text
        return self._encoded(fields_of_span(span, context), max_line_bytes, max_event_bytes)

    def _encoded(self, fields: dict[str, Any], max_line_bytes: int, max_event_bytes: int) -> bytes:
        if self._redactor is not None:
            self._redactor.span(fields)
        return encode(
            fields,
            max_line_bytes,
            max_event_bytes=max_event_bytes,
            staying=s.IDENTITY,
            apart=s.CONTENT if self._erasable else frozenset(),
            ending=self._scope,
        )


def _flags(flags: int) -> str:
    if flags == 1:
        return ',"trace_flags":1'
    return f',"trace_flags":{int(flags)}' if flags else ""


def _status(status: Status) -> str:
    text = f',"status":"{status.status_code.name}"'
    if status.description is not None:
        text += "," + orjson.dumps({"status_message": _text(status.description)})[1:-1].decode()
    return text


def _head_of(span: ReadableSpan, context: SpanContext) -> str:
    """Return the encoded name, kind and parent; empty if they need ``encode``."""
    if context.trace_state or context.is_remote:
        return ""
    try:
        head = _named(span.name)
        if (kind := span.kind) is not _INTERNAL:
            head += _KIND_FIELDS.get(kind, "")
        parent = span.parent
        return head if parent is None else head + _parent(parent, context.trace_id)
    except TypeError:  # lone surrogates
        return ""


def _named(name: object) -> str:
    text = _names.get(name) if type(name) is str else None
    if text is None:
        text = f'"name":{orjson.dumps(_text(name)).decode()}'
        if len(text) <= _LONGEST_NAME:
            if len(_names) >= _MOST_SCOPES:
                _names.clear()
            _names[name] = text
    return text


def _parent(parent: SpanContext, trace_id: int) -> str:
    """Return the field of a parent, usually the cached one of the last span."""
    global _last_parent  # noqa: PLW0603 - one tuple, replaced whole
    known, text = _last_parent
    if known is not parent:
        text = f',"parent":{orjson.dumps(_context_fields(parent, trace_id)).decode()}'
        _last_parent = (parent, text)
    return text


def fields_of_span(
    span: ReadableSpan, context: SpanContext, ended: int | None = None
) -> dict[str, Any]:
    """Return the fields of a span's line by the names of the line format.

    Args:
        span: The span, which is not changed. One without an end time gives the line of a start.
        context: Its context.
        ended: The end time to use in place of the span's.

    Returns:
        A new dict without ``id``, ``seq`` and scope. Events and links are the body.
    """
    began = span.start_time
    if ended is None:
        ended = span.end_time
    about: dict[str, Any] = {"name": _text(span.name)}
    fields: dict[str, Any] = {"signal": SPAN_START if ended is None else SPAN}
    time = began if ended is None else ended
    if type(time) is int:
        fields["timestamp"] = rfc3339(time)
    fields["trace_id"] = f"{context.trace_id:032x}"
    fields["span_id"] = f"{context.span_id:016x}"
    if context.trace_flags:
        fields["trace_flags"] = int(context.trace_flags)
    if span.kind is not _INTERNAL:
        about["kind"] = KINDS.get(span.kind, "internal")
    if ended is not None and type(began) is int:
        about["start"] = rfc3339(began)
    if (parent := span.parent) is not None:
        about["parent"] = _context_fields(parent, context.trace_id)
    if context.trace_state:
        about["trace_state"] = _state(context.trace_state)
    if context.is_remote:
        about["remote"] = True
    status = span.status
    if status.status_code is not _UNSET:
        about["status"] = status.status_code.name
        if status.description is not None:
            about["status_message"] = _text(status.description)
    attributes, dropped = attributes_of(span.attributes)
    counts = {
        "dropped_attributes": dropped or span.dropped_attributes,
        "dropped_events": span.dropped_events,
        "dropped_links": span.dropped_links,
    }
    about.update({name: count for name, count in counts.items() if count})
    body: dict[str, Any] = {}
    if events := span.events:
        body["events"] = _events(events)
    if links := span.links:
        body["links"] = _links(links)
    fields["span"] = about
    if body:
        fields["body"] = body
    if attributes:
        fields["attributes"] = attributes
    return fields


def _events(events: Sequence[Event]) -> list[dict[str, Any]]:
    found = []
    for event in events:
        one: dict[str, Any] = {"name": _text(event.name)}
        if event.timestamp is not None:
            one["timestamp"] = event.timestamp
        _add_attributes(one, event.attributes)
        found.append(one)
    return found


def _links(links: Sequence[Link]) -> list[dict[str, Any]]:
    found = []
    for link in links:
        one = _context_fields(link.context, None)
        _add_attributes(one, link.attributes)
        found.append(one)
    return found


def _add_attributes(fields: dict[str, Any], given: Any) -> None:
    attributes, dropped = attributes_of(given)
    if attributes:
        fields["attributes"] = attributes
    if dropped:
        fields["dropped_attributes"] = dropped


def _context_fields(context: SpanContext, trace_id: int | None) -> dict[str, Any]:
    """Return the fields of another span's context; its trace id only if it is not the given one."""
    fields: dict[str, Any] = {"span_id": f"{context.span_id:016x}"}
    if context.trace_id != trace_id:
        fields["trace_id"] = f"{context.trace_id:032x}"
    if context.is_remote:
        fields["remote"] = True
    if context.trace_flags:
        fields["trace_flags"] = int(context.trace_flags)
    if context.trace_state:
        fields["trace_state"] = _state(context.trace_state)
    return fields


def _state(state: TraceState) -> list[list[str]]:
    # Not the header's text, because entries that the header cannot hold are exported, too.
    return [[key, value] for key, value in state.items()]


def _text(given: Any) -> str:
    return given if type(given) is str else text_of(given)
