"""Records as OTLP-JSON: protobuf's JSON mapping with hexadecimal ids, by the OTLP specification."""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Any

from wakelog.events import semconv as s
from wakelog.record import Record, Resource, Scope

_LARGEST = 1 << 63


def log_record(record: Record, writer: str) -> dict[str, Any]:
    """Return a LogRecord message, with the attributes that delivery adds to identify the record."""
    fields: dict[str, Any] = {}
    if record.timestamp is not None:
        fields["timeUnixNano"] = str(record.timestamp)
    observed = record.observed_timestamp
    if (observed := record.timestamp if observed is None else observed) is not None:
        fields["observedTimeUnixNano"] = str(observed)
    if isinstance(record.severity_number, int):
        fields["severityNumber"] = record.severity_number
    if record.severity_text is not None:
        fields["severityText"] = str(record.severity_text)
    if record.body is not None:
        fields["body"] = any_value(record.body)
    identity = {s.LOG_RECORD_UID: record.id, s.WRITER_ID: writer, s.SEQ: record.seq}
    fields["attributes"] = attributes_of({**record.attributes, **identity})
    if record.dropped_attributes_count:
        fields["droppedAttributesCount"] = record.dropped_attributes_count
    if record.trace_flags:
        fields["flags"] = record.trace_flags
    if record.trace_id:
        fields["traceId"] = record.trace_id
    if record.span_id:
        fields["spanId"] = record.span_id
    if record.event_name is not None:
        fields["eventName"] = str(record.event_name)
    return fields


def resource_of(resource: Resource) -> dict[str, Any]:
    """Return the fields of a ResourceLogs message that describe the resource."""
    fields: dict[str, Any] = {"resource": {"attributes": attributes_of(resource.attributes)}}
    return {**fields, "schemaUrl": resource.schema_url} if resource.schema_url else fields


def scope_of(scope: Scope | None) -> dict[str, Any]:
    """Return the fields of a ScopeLogs message that describe the scope."""
    if scope is None:
        return {"scope": {}}
    fields: dict[str, Any] = {"name": scope.name}
    if scope.version:
        fields["version"] = scope.version
    if scope.attributes:
        fields["attributes"] = attributes_of(scope.attributes)
    return {"scope": fields, **({"schemaUrl": scope.schema_url} if scope.schema_url else {})}


def attributes_of(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a list of KeyValue messages."""
    return [{"key": name, "value": any_value(value)} for name, value in attributes.items()]


def any_value(value: object) -> dict[str, Any]:
    """Return an AnyValue message, which is empty for None."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        inside = -_LARGEST <= value < _LARGEST
        return {"intValue": str(value)} if inside else {"stringValue": str(value)}
    if isinstance(value, float):
        if math.isfinite(value):
            return {"doubleValue": value}
        return {"doubleValue": "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"}
    if isinstance(value, bytes):
        return {"bytesValue": b64encode(value).decode()}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes_of(value)}}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return {"stringValue": str(value)}
