"""Encoding of lines as OTLP requests for spans, without the SDK's objects in between.

The bytes equal those of the official encoder for the span that ``SpanRebuilder`` rebuilds; a test
compares the two. Lines that are unusual in any way are not encoded here: their spans are rebuilt.

Source: ``opentelemetry/proto/trace/v1/trace.proto`` and ``collector/trace/v1/trace_service.proto``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception class
from typing import Any, Final

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from wakelog._native import native
from wakelog.journal import Entry
from wakelog.otel._protobuf import Attributes, field, resource_message, text_field, varint
from wakelog.otel._span_fields import KINDS
from wakelog.record import SALTED, parse_rfc3339, put_content_back

_TAGGED: Final = b'"$wakelog"'
_UINT64, _UINT32 = Struct("<Q").pack, Struct("<I").pack
_TIMES = Struct("<cQcQ").pack
_ID_DIGITS: Final = 16
# The bits for: it is known whether a parent or linked span is remote; and: it is remote.
_KNOWN, _REMOTE = 0x100, 0x200
_FLAGS = {False: b"\x85\x01" + _UINT32(_KNOWN), True: b"\x85\x01" + _UINT32(_KNOWN | _REMOTE)}
_LINK_FLAGS = {False: b"\x35" + _UINT32(_KNOWN), True: b"\x35" + _UINT32(_KNOWN | _REMOTE)}
# The protocol numbers kinds from 1, the API from 0.
_KINDS = {name: b"\x30" + varint(kind.value + 1) for kind, name in KINDS.items()}
_STATUS_CODES = {code.name: b"\x18" + varint(code.value) for code in StatusCode if code.value}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_MOST_NAMES, _LONGEST_NAME = 512, 256
_NO_STATUS: Final = b"\x7a\x00"
_NOTHING: Final[Mapping[str, Any]] = {}
# Exceptions that a line in a form other than Wakelog's may raise here.
_OUT_OF_THE_ORDINARY = (ValueError, TypeError, AttributeError, KeyError, StructError)


class SpanEncoder:
    """Encodes spans for OTLP, with caches of parts that repeat. One thread at a time uses it."""

    def __init__(self) -> None:
        self._attributes = Attributes()
        # Cache of encoded names, which mostly repeat.
        self._names: dict[str, bytes] = {}
        self._native = None if native is None else native.encode_span

    def encode(self, line: bytes) -> tuple[bytes, int, int] | None:
        """Encode the span of a line, with the compiled encoder if there is one.

        Args:
            line: The line.

        Returns:
            A ``spans`` field of ``ScopeSpans``, and the span's trace id and span id; None if the
            span has to be rebuilt.

        Raises:
            ValueError: If the line is not JSON.
        """
        if self._native is not None:
            found: tuple[bytes, int, int] | None = self._native(line)
            if found is not None:
                return found
        data = orjson.loads(line)
        if _TAGGED in line or (SALTED in data and not put_content_back(data)):
            return None
        if not data.get("trace_flags", 0) & TraceFlags.SAMPLED:
            return None
        try:
            message = self._span(data)
            encoded = b"".join((b"\x12", varint(len(message)), message))
        except _OUT_OF_THE_ORDINARY:
            return None
        return encoded, int(data["trace_id"], 16), int(data["span_id"], 16)

    def _span(self, data: Mapping[str, Any]) -> bytes:
        about: Mapping[str, Any] = data["span"]
        get = about.get
        parts = [
            b"\x0a\x10",
            _id(data["trace_id"], 2 * _ID_DIGITS),
            b"\x12\x08",
            _id(data["span_id"], _ID_DIGITS),
        ]
        if (state := get("trace_state")) is not None:
            pairs = ",".join([f"{key}={value}" for key, value in state])
            parts.append(text_field(b"\x1a", pairs))
        flags = _FLAGS[False]
        if (parent := get("parent")) is not None:
            parts += (b"\x22\x08", _id(parent["span_id"], _ID_DIGITS))
            flags = _FLAGS[bool(parent.get("remote"))]
        name = about["name"]
        parts += (
            self._names.get(name) or self._named(name),
            _KINDS[get("kind", "internal")],
            _times(parse_rfc3339(about["start"]), parse_rfc3339(data["timestamp"])),
        )
        if attributes := data.get("attributes"):
            parts += (b"\x4a", b"\x4a".join(self._attributes.sized(attributes)))
        if dropped := get("dropped_attributes"):
            parts.append(_count(b"\x50", dropped))
        body: Mapping[str, Any] = data.get("body") or _NOTHING
        if body:
            parts += [field(b"\x5a", self._event(one)) for one in body.get("events", ())]
        if dropped := get("dropped_events"):
            parts.append(_count(b"\x60", dropped))
        if body:
            parts += [field(b"\x6a", self._link(one)) for one in body.get("links", ())]
        if dropped := get("dropped_links"):
            parts.append(_count(b"\x70", dropped))
        parts += (_NO_STATUS if get("status") is None else _status(about), flags)
        return b"".join(parts)

    def _named(self, name: str) -> bytes:
        written = text_field(b"\x2a", name)
        if len(name) <= _LONGEST_NAME:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[name] = written
        return written

    def _event(self, fields: Mapping[str, Any]) -> bytes:
        time = int(fields.get("timestamp", 0))
        return b"".join(
            (
                b"\x09" + _UINT64(time) if time else b"",
                text_field(b"\x12", fields["name"]),
                *[b"\x1a" + one for one in self._attributes.sized(fields.get("attributes") or {})],
                _count(b"\x20", fields.get("dropped_attributes")),
            )
        )

    def _link(self, fields: Mapping[str, Any]) -> bytes:
        return b"".join(
            (
                b"\x0a\x10",
                _id(fields["trace_id"], 2 * _ID_DIGITS),
                b"\x12\x08",
                _id(fields["span_id"], _ID_DIGITS),
                *[b"\x22" + one for one in self._attributes.sized(fields.get("attributes") or {})],
                _count(b"\x28", fields.get("dropped_attributes")),
                _LINK_FLAGS[bool(fields.get("remote"))],
            )
        )

    def request(self, batch: Sequence[ReadableSpan]) -> bytes | None:
        """Encode the request for a batch, grouped by resource and scope.

        Args:
            batch: The spans.

        Returns:
            An ``ExportTraceServiceRequest``; None if one of them was not encoded here.
        """
        groups: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        resource: Resource | None = None
        scope: InstrumentationScope | None = None
        spans: list[bytes] = []
        for span in batch:
            if type(span) is not LineSpan:
                return None
            if (
                not groups
                or span.resource is not resource
                or span.instrumentation_scope is not scope
            ):
                resource, scope = span.resource, span.instrumentation_scope
                spans = groups.setdefault(resource, {}).setdefault(scope or None, [])
            spans.append(span.encoded)
        try:
            return b"".join(
                field(b"\x0a", resource_message(self._attributes, resource, scopes))
                for resource, scopes in groups.items()
            )
        except _OUT_OF_THE_ORDINARY:
            return None


class LineSpan(ReadableSpan):
    """An encoded span, which is rebuilt from its line when another field is read.

    Args:
        rebuild: Rebuilds the span of an entry.
        entry: The entry with the line.
        encoded: The span encoded for OTLP.
        ids: Its trace id and span id.
        resource: Its resource.
        scope: Its instrumentation scope.
    """

    def __init__(
        self,
        rebuild: Callable[[Entry], ReadableSpan],
        entry: Entry,
        encoded: bytes,
        ids: tuple[int, int],
        resource: Resource,
        scope: InstrumentationScope | None,
    ) -> None:
        self.encoded = encoded
        self._made_by, self._entry, self._known_ids = rebuild, entry, ids
        self._known_resource, self._known_scope = resource, scope
        self._known_context: SpanContext | None = None

    @property
    def context(self) -> SpanContext:
        """The span's context, from which the batch processor reads whether it is sampled."""
        known = self._known_context
        if known is None:  # the batch processor reads it twice
            known = SpanContext(*self._known_ids, False, _SAMPLED)
            self._known_context = known
        return known

    @property
    def resource(self) -> Resource:
        """The span's resource."""
        return self._known_resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope | None:
        """The span's instrumentation scope."""
        return self._known_scope

    def __getattr__(self, name: str) -> Any:
        """Rebuild the span when a field is read for the first time.

        Raises:
            AttributeError: If spans have no such field.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        made = vars(self._made_by(self._entry))
        if name not in made:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message)
        for field_name, value in made.items():
            self.__dict__.setdefault(field_name, value)
        self._known_context = made["_context"]  # with its trace state
        return made[name]


def _id(text: str, digits: int) -> bytes:
    if len(text) != digits or len(data := bytes.fromhex(text)) != digits // 2:
        message = f"no id: {text!r}"
        raise ValueError(message)
    return data


def _times(began: int, ended: int) -> bytes:
    if began and ended:
        return _TIMES(b"\x39", began, b"\x41", ended)
    start = b"\x39" + _UINT64(began) if began else b""
    return start + (b"\x41" + _UINT64(ended) if ended else b"")


def _count(tag: bytes, count: int | None) -> bytes:
    return tag + varint(count) if count else b""


def _status(about: Mapping[str, Any]) -> bytes:
    code = about["status"]
    message = about.get("status_message") if code == StatusCode.ERROR.name else None
    return field(b"\x7a", text_field(b"\x12", message) + _STATUS_CODES[code])
