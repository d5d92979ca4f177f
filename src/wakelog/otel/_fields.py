"""Conversion of the fields of a log record to those of a line, whatever types the program has used.

OpenTelemetry's SDK does not check types: a severity may be a plain number, a time a float, a trace
id text. A value that can be converted becomes the field; any other becomes an attribute, so that
no given value is lost.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from opentelemetry._logs import LogRecord
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import ReadableSpan

from wakelog._endpoints import without_secrets
from wakelog.events import semconv as s
from wakelog.record import Resource, encode, kept, opened, parse_rfc3339, rfc3339, text_of

_MOST_SEVERE: Final = 24
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MOST_SCOPES: Final = 1000
encoded_scopes: Final[dict[int, tuple[object, bytes]]] = {}
"""A cache of what ``scope_of`` returns, by the scope's id; it holds the scopes, so no id is reused."""


def fields_of_record(record: LogRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a record and, separately, its attributes.

    Args:
        record: The record, which is not changed.

    Returns:
        Two new dicts: time, name, severity, body and trace context by the names of the line format;
        and the attributes, with ``wakelog.given.<field>`` for each value that cannot be converted.
    """
    fields: dict[str, Any] = {}
    attributes, dropped = attributes_of(record.attributes)
    timestamp: int | None = record.timestamp
    observed: int | None = record.observed_timestamp
    if type(timestamp) is not int and timestamp is not None:
        timestamp = _usable(attributes, "timestamp", timestamp, _time(timestamp))
    if type(observed) is not int and observed is not None:
        observed = _usable(attributes, "observed_timestamp", observed, _time(observed))
    if timestamp is not None:
        fields["timestamp"] = rfc3339(timestamp)
    if observed != timestamp and observed is not None:
        fields["observed_timestamp"] = rfc3339(observed)
    if (name := _text(record.event_name)) is not None:
        fields["event_name"] = name
    severity: Any = record.severity_number
    if severity is not None:
        number = _usable(attributes, "severity_number", severity, _number(severity, _MOST_SEVERE))
        if number is not None:
            fields["severity_number"] = number
    if (text := _text(record.severity_text)) is not None:
        fields["severity_text"] = text
    if record.body is not None:
        fields["body"] = record.body
    for name, given, digits in (
        ("trace_id", record.trace_id, 32),
        ("span_id", record.span_id, 16),
    ):
        value: int | None = given if type(given) is int and given >= 0 else _id(given, digits)
        if value is None or value >> (4 * digits):
            _usable(attributes, name, given, None)
        elif value:
            fields[name] = f"{value:0{digits}x}"
    flags: Any = record.trace_flags
    if flags is not None:
        number = _usable(attributes, "trace_flags", flags, _number(flags, 0xFFFF_FFFF))
        if number:
            fields["trace_flags"] = number
    if dropped:
        fields["dropped_attributes_count"] = dropped
    return fields, attributes


def scope_fields(scope: Any) -> dict[str, Any]:
    """Return the fields of an instrumentation scope under the names of the line format."""
    fields: dict[str, Any] = {"name": _text(scope.name) or ""}
    for name in ("version", "schema_url"):
        if (text := _text(getattr(scope, name))) is not None:
            fields[name] = text
    if scope.attributes:
        fields["attributes"] = attributes_of(scope.attributes)[0]
    return fields


def attributes_of(given: Any) -> tuple[dict[str, Any], int]:
    """Return a copy of attributes, and the number that the SDK reports as dropped."""
    if type(given) is MappingProxyType:
        given = given.copy()  # a copy of the mapping behind the proxy
    if given is None:
        return {}, 0
    if isinstance(given, BoundedAttributes):
        # Reading it key by key takes a lock each time; its own copy is faster.
        return given.copy(), given.dropped  # type: ignore[return-value] # a dict
    held = dict(given) if type(given) is dict else opened(given)
    return (held if type(held) is dict else {s.GIVEN + "attributes": kept(given)}), 0


def _usable(attributes: dict[str, Any], name: str, given: Any, value: int | None) -> int | None:
    """Return a converted value; if it is None, keep the given one among the attributes."""
    if value is None and given is not None:
        attributes[s.GIVEN + name] = kept(given)
    return value


def _text(given: Any) -> str | None:
    if type(given) is not str and given is not None:
        held = opened(given)
        given = held if type(held) is str else text_of(given)
    return given or None


def _number(given: Any, most: int) -> int | None:
    held = given if type(given) is bool else opened(given)
    if type(held) is float and held.is_integer():
        held = int(held)
    return held if type(held) is int and 0 <= held <= most else None


def _id(given: Any, digits: int) -> int | None:
    """Return an id given as text or another type: 0 for no value, None for an invalid one."""
    if given is None:
        return 0
    held = None if type(given) is bool else opened(given)
    if type(held) is str and len(held) == digits:
        try:
            held = int(held, 16)
        except ValueError:
            return None
    return held if type(held) is int and held >= 0 else None


def _time(given: Any) -> int | None:
    """Return nanoseconds since 1970 for a time of any type, None if it cannot be converted."""
    if issubclass(type(given), datetime):
        try:
            return (given - _EPOCH) // _MICROSECOND * 1000  # type: ignore[no-any-return] # an int
        except Exception:  # noqa: BLE001 - no time zone, or a user's time zone that raises
            return None
    held = None if type(given) is bool else opened(given)
    if type(held) is str and not held.lstrip("-").isdecimal():
        try:
            return parse_rfc3339(held)
        except ValueError:
            return None
    if type(held) is float and math.isfinite(held):
        held = int(held)
    return held if type(held) is int else None


def resource_of(resource: SDKResource | None) -> Resource:
    """Return OpenTelemetry's resource as plain data, without user names and passwords in URLs."""
    if resource is None:
        return Resource({})
    attributes = {name: _without_users(value) for name, value in resource.attributes.items()}
    return Resource(attributes, resource.schema_url or "")


def _without_users(value: Any) -> Any:
    if type(value) is str:
        return without_secrets(value) if "://" in value else value
    return tuple(map(_without_users, value)) if type(value) is tuple else value


def scope_of(given: ReadableSpan | ReadWriteLogRecord) -> bytes:
    """Return the last field of the line of a span or a log record."""
    scope = given.instrumentation_scope
    known = encoded_scopes.get(id(scope))
    if known is None:
        text = encode({"scope": scope_fields(scope)}, sys.maxsize) if scope else b""
        if len(encoded_scopes) >= _MOST_SCOPES:
            encoded_scopes.clear()
        known = encoded_scopes[id(scope)] = (scope, text)
    return known[1]
