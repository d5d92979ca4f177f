"""The lines of a span: one for its start, and a complete one for its end."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.otel._fields import encoded_scopes, scope_of
from wakelog.otel._span_fields import (
    KINDS,
    body_of,
    context_fields,
    fields_of_span,
    plain_text,
)
from wakelog.otel._span_storage import SDKClasses, span_storage
from wakelog.record import SEAL_BYTES, TAG, encode, is_json, rfc3339

if TYPE_CHECKING:
    from wakelog.otel._redactor import Redactor

Encoded: TypeAlias = tuple[int, str, bytes, SDKResource]
"""A span's id, the id of its lines, the middle part of a line, and the span's resource.

The id of its lines has trace id and span id in hexadecimal, which identify a span.
"""
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_INTERNAL: Final = SpanKind.INTERNAL
_UNSET: Final = StatusCode.UNSET
_MOST_NAMES: Final = 1000
_LONGEST_NAME: Final = 512
_PLAIN: Final = frozenset({str, int, bool})
_NUMBERS: Final = _PLAIN | {float}
_KIND_FIELDS: Final = {kind: f',"kind":"{name}"' for kind, name in KINDS.items()}
_NO_STATE: Final = SDKClasses().no_state
# Caches of the encoded names, and of the parent of the last span.
_names: dict[object, str] = {}
_last_parent: tuple[SpanContext | None, int, str] = (None, 0, "")
_storage: Final = span_storage()


class SpanLines:
    """Encodes the lines of spans.

    Args:
        redactor: Redacts the lines.
        erasable: Whether content is set apart on the lines, so that it can be erased.
        max_line_bytes: The maximum size of a line, in bytes.
        max_event_bytes: The maximum size of all its fields, in bytes.

    Attributes:
        ordinary: Encodes a line of an ordinary span: given the span, whether it has ended, and
            ``longest``. Returns None for all other spans, which ``encode`` encodes.
        longest: The maximum size of the middle part of such a line.
    """

    def __init__(
        self,
        redactor: Redactor | None = None,
        *,
        erasable: bool = False,
        max_line_bytes: int,
        max_event_bytes: int,
    ) -> None:
        self._redactor, self._erasable = redactor, erasable
        self._max_line_bytes, self._max_event_bytes = max_line_bytes, max_event_bytes
        self.longest = max(0, min(max_line_bytes - SEAL_BYTES, max_event_bytes))
        self.ordinary: Callable[[ReadableSpan, bool, int], Encoded | None] = (
            ordinary_line if redactor is None and not erasable else _no_line
        )

    def encode(self, span: ReadableSpan, *, ended: bool) -> Encoded | None:
        """Encode the line of a span's start, or of its end.

        Args:
            span: The span, which is not changed.
            ended: Whether it has ended.

        Returns:
            The line, as ``wakelog.record.encode`` returns it for ``fields_of_span``; None if the
            span is not sampled.

        Raises:
            EventTooLargeError: If it is larger than ``max_event_bytes``; with the content of a
                stub.
            RedactionError: If a detector or a strategy of the user failed.
        """
        found = self.ordinary(span, ended, self.longest)
        if found is not None:
            return found
        context = span.get_span_context()
        if context is None or not context.trace_flags & _SAMPLED:
            return None
        content = self._encoded(fields_of_span(span, context, ended=ended), scope_of(span))
        return context.span_id, line_id(context), content, span.resource

    def unknown(
        self,
        span: ReadableSpan,
        context: SpanContext,
        end: Callable[[dict[str, Any]], None],
        at: int,
    ) -> bytes:
        """Encode the line of an end with unknown outcome.

        Args:
            span: The span, which is open.
            context: Its context.
            end: Adds the outcome to the fields.
            at: When it ended, in nanoseconds since 1970.

        Raises:
            EventTooLargeError: As for ``encode``.
            RedactionError: As for ``encode``.
        """
        fields = fields_of_span(span, context, ended=True, at=at)
        end(fields)
        return self._encoded(fields, scope_of(span))

    def _encoded(self, fields: dict[str, Any], scope: bytes) -> bytes:
        if self._redactor is not None:
            self._redactor.span(fields)
        return encode(
            fields,
            self._max_line_bytes,
            max_event_bytes=self._max_event_bytes,
            staying=s.IDENTITY,
            apart=s.CONTENT if self._erasable else frozenset(),
            ending=scope,
        )


def line_id(context: SpanContext) -> str:
    """Return the id of a span's lines."""
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def _no_line(span: ReadableSpan, ended: bool, longest: int) -> Encoded | None:  # noqa: ARG001, FBT001 - a callback's
    return None


# Long: every span takes this path twice, and each call costs time.
def _line_in_python(span: ReadableSpan, ended: bool, longest: int) -> Encoded | None:  # noqa: FBT001 - positional for speed
    """Do what the compiled encoder does."""
    if _storage is None or not _storage.classes[type(span)]:
        return None
    (
        name,
        context,
        parent,
        resource,
        attributes,
        events,
        links,
        kind,
        status,
        began,
        end,
        scope,
    ) = _values_of(span)
    if (
        type(context) is not SpanContext
        or not type(events) is type(links) is BoundedList
        or not type(began) is int is type(end if ended else began)
        or (parent is not None and type(parent) is not SpanContext)
    ):
        return None
    trace_id, span_id, remote, flags, state, *_ = context
    if not flags & _SAMPLED or remote or (state is not _NO_STATE and state):
        return None
    dropped = 0
    if type(attributes) is BoundedAttributes:
        dropped = attributes.dropped
        attributes = attributes.copy()  # another thread may change them
    if attributes is not None and type(attributes) is not dict:
        return None
    known = encoded_scopes.get(id(scope))
    try:
        trace = "%032x" % trace_id  # noqa: UP031 - a third faster
        digits = "%016x" % span_id  # noqa: UP031
        beginning = rfc3339(began)
        head = _names.get(name) if type(name) is str else None
        if head is None:
            head = _named(name)
        if kind is not _INTERNAL:
            head += _KIND_FIELDS.get(kind, "")
        if parent is not None:
            head += _parent(parent, trace_id)
        if ended:
            signal, time, head = "span", rfc3339(end), f'{head},"start":"{beginning}"'
            if status.status_code is not _UNSET:
                head += _status(status)
        else:
            signal, time = "span_start", beginning
        if dropped or events.dropped or links.dropped:
            head += _counts(dropped, events.dropped, links.dropped)
        about = (
            f',"signal":"{signal}","timestamp":"{time}","trace_id":"{trace}","span_id":"{digits}"'
            f'{_flags(flags)},"span":{{{head}}}'
        ).encode()
        body = _body(events, links) if _queue_of(events) or _queue_of(links) else b""
        rest = _attributes(attributes) if attributes else b""
    except (TypeError, UnicodeEncodeError):  # lone surrogates, integers beyond 64 bits
        return None
    if rest is None or body is None:
        return None
    content = b"%b%b%b%b" % (about, body, rest, scope_of(span) if known is None else known[1])
    return (span_id, f"{trace}-{digits}", content, resource) if len(content) <= longest else None


def _counts(*dropped: int) -> str:
    """Return the fields of the numbers of attributes, events and links that the SDK has dropped."""
    names = ("attributes", "events", "links")
    return "".join(
        f',"dropped_{name}":{int(count)}'
        for name, count in zip(names, dropped, strict=True)
        if count
    )


def _body(events: BoundedList[Any], links: BoundedList[Any]) -> bytes | None:
    """Return the field of the body, None if it needs ``encode``."""
    body = body_of(list(_queue_of(events)), list(_queue_of(links)))
    return b',"body":' + orjson.dumps(body) if is_json(body) else None


def _attributes(attributes: dict[str, Any]) -> bytes | None:
    """Return the field of attributes, None if they need ``encode``."""
    if TAG in attributes:
        return None
    text = orjson.dumps(attributes)
    if not _PLAIN.issuperset(map(type, attributes.values())):
        # The codec writes NaN and infinities as null.
        numbers = _NUMBERS.issuperset(map(type, attributes.values()))
        if not (numbers and b"null" not in text) and not is_json(attributes):
            return None
    return b',"attributes":' + text


def _flags(flags: int) -> str:
    return ',"trace_flags":1' if flags == 1 else f',"trace_flags":{int(flags)}'


def _status(status: Status) -> str:
    text = f',"status":"{status.status_code.name}"'
    if status.description is not None:
        message = orjson.dumps({"status_message": plain_text(status.description)})
        text += "," + message[1:-1].decode()
    return text


def _named(name: object) -> str:
    text = f'"name":{orjson.dumps(plain_text(name)).decode()}'
    if type(name) is str and len(text) <= _LONGEST_NAME:
        if len(_names) >= _MOST_NAMES:
            _names.clear()
        _names[name] = text
    return text


def _parent(parent: SpanContext, trace_id: int) -> str:
    """Return the field of a parent, usually the cached one of the last span."""
    global _last_parent  # noqa: PLW0603 - one tuple, replaced whole
    known, known_trace_id, text = _last_parent
    if known is not parent or known_trace_id != trace_id:
        text = f',"parent":{orjson.dumps(context_fields(parent, trace_id)).decode()}'
        _last_parent = (parent, trace_id, text)
    return text


_values_of: Final[Callable[[ReadableSpan], tuple[Any, ...]]] = (
    attrgetter("name") if _storage is None else attrgetter(*_storage[:12])
)
_queue_of: Final[Callable[[Any], Any]] = attrgetter("x" if _storage is None else _storage.queue)

ordinary_line: Final[Callable[[ReadableSpan, bool, int], Encoded | None]] = (
    _line_in_python
    if native is None or _storage is None
    else native.SpanLineEncoder(_storage, SDKClasses(), encoded_scopes, scope_of).encode
)
"""Encodes a line of an ordinary span, in C if it can; see ``SpanLines.ordinary``."""
