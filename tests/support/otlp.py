"""OTLP JSON, as the Collector's file exporter writes it, decoded into plain Python values.

Source: OpenTelemetry protocol, JSON Protobuf encoding (64-bit integers are strings, ids are hex).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json: TypeAlias = Mapping[str, Any]
    Attributes: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Says where a record or span came from: its resource and its instrumentation scope."""

    resource: Attributes
    resource_schema_url: str
    scope_name: str
    scope_version: str
    scope_attributes: Attributes
    schema_url: str


@dataclass(frozen=True, kw_only=True)
class ExportedLog:
    """One log record as the Collector received it; ids are hex and empty when absent."""

    origin: Origin
    time_unix_nano: int
    observed_time_unix_nano: int
    severity_number: int
    severity_text: str
    event_name: str
    body: Any
    attributes: Attributes
    dropped_attributes_count: int
    flags: int
    trace_id: str
    span_id: str

    @property
    def uid(self) -> str | None:
        """The record's identity, `log.record.uid`, or None when it carries none."""
        return self.attributes.get("log.record.uid")


@dataclass(frozen=True, kw_only=True)
class ExportedSpanEvent:
    """One event of a span as the Collector received it."""

    name: str
    time_unix_nano: int
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class ExportedLink:
    """One link of a span as the Collector received it."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class ExportedSpan:
    """One span as the Collector received it.

    `kind` and `status` are the specification's names without their prefix ("CLIENT", "ERROR").
    """

    origin: Origin
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: Attributes
    events: tuple[ExportedSpanEvent, ...]
    links: tuple[ExportedLink, ...]
    status: str
    status_message: str


@dataclass(frozen=True, kw_only=True)
class ExportedPoint:
    """One data point: a number, or how many measurements a histogram has."""

    value: float
    attributes: Attributes
    time_unix_nano: int
    start_time_unix_nano: int


@dataclass(frozen=True, kw_only=True)
class ExportedMetrics:
    """What one resource reported in one request: the points of each metric, by its name."""

    resource: Attributes
    points: dict[str, list[ExportedPoint]]

    def __call__(self, name: str, **attributes: str) -> float:
        """Return the sum of a metric's points that have these attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            point.value
            for point in self.points.get(name, ())
            if wanted.items() <= point.attributes.items()
        )


_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


def decode_value(value: Json) -> Any:
    """Returns an OTLP `AnyValue` as the Python value that it stands for; an empty one is None."""
    for key, content in value.items():
        match key:
            case "intValue":
                return int(content)
            case "doubleValue":
                return float(content)
            case "bytesValue":
                return base64.b64decode(content)
            case "arrayValue":
                return [decode_value(item) for item in content.get("values", ())]
            case "kvlistValue":
                return decode_attributes(content.get("values", ()))
            case "stringValue" | "boolValue":
                return content
            case _:
                msg = f"unknown kind of OTLP value: {key}"
                raise ValueError(msg)
    return None


def decode_attributes(pairs: Sequence[Json]) -> Attributes:
    """Returns OTLP key-value pairs as a dictionary in their order.

    Raises:
        ValueError: A key occurs twice, which a dictionary would hide.
    """
    decoded = {pair.get("key", ""): decode_value(pair.get("value", {})) for pair in pairs}
    if len(decoded) != len(pairs):
        msg = f"an attribute key occurs twice: {[pair.get('key', '') for pair in pairs]}"
        raise ValueError(msg)
    return decoded


def decode_logs(request: Json) -> Iterator[ExportedLog]:
    """Yields the log records of one line of the Collector's log file, in their order."""
    for origin, raw in _items(request, "resourceLogs", "scopeLogs", "logRecords"):
        yield ExportedLog(
            origin=origin,
            time_unix_nano=int(raw.get("timeUnixNano", 0)),
            observed_time_unix_nano=int(raw.get("observedTimeUnixNano", 0)),
            severity_number=raw.get("severityNumber", 0),
            severity_text=raw.get("severityText", ""),
            event_name=raw.get("eventName", ""),
            body=decode_value(raw.get("body", {})),
            attributes=decode_attributes(raw.get("attributes", ())),
            dropped_attributes_count=raw.get("droppedAttributesCount", 0),
            flags=raw.get("flags", 0),
            trace_id=raw.get("traceId", ""),
            span_id=raw.get("spanId", ""),
        )


def decode_spans(request: Json) -> Iterator[ExportedSpan]:
    """Yields the spans of one line of the Collector's trace file, in their order."""
    for origin, raw in _items(request, "resourceSpans", "scopeSpans", "spans"):
        status = raw.get("status", {})
        yield ExportedSpan(
            origin=origin,
            name=raw.get("name", ""),
            kind=_KINDS[raw.get("kind", 0)],
            trace_id=raw.get("traceId", ""),
            span_id=raw.get("spanId", ""),
            parent_span_id=raw.get("parentSpanId", ""),
            start_time_unix_nano=int(raw.get("startTimeUnixNano", 0)),
            end_time_unix_nano=int(raw.get("endTimeUnixNano", 0)),
            attributes=decode_attributes(raw.get("attributes", ())),
            events=tuple(
                ExportedSpanEvent(
                    name=event.get("name", ""),
                    time_unix_nano=int(event.get("timeUnixNano", 0)),
                    attributes=decode_attributes(event.get("attributes", ())),
                )
                for event in raw.get("events", ())
            ),
            links=tuple(
                ExportedLink(
                    trace_id=link.get("traceId", ""),
                    span_id=link.get("spanId", ""),
                    attributes=decode_attributes(link.get("attributes", ())),
                )
                for link in raw.get("links", ())
            ),
            status=_STATUSES[status.get("code", 0)],
            status_message=status.get("message", ""),
        )


def decode_metrics(request: Json) -> Iterator[ExportedMetrics]:
    """Yields what each resource reported in one line of the Collector's metrics file."""
    for resource in request.get("resourceMetrics", ()):
        points: dict[str, list[ExportedPoint]] = {}
        for scope in resource.get("scopeMetrics", ()):
            for metric in scope.get("metrics", ()):
                data = metric.get("sum") or metric.get("gauge") or metric.get("histogram") or {}
                points.setdefault(metric["name"], []).extend(
                    ExportedPoint(
                        value=float(
                            raw.get("asInt", raw.get("asDouble", raw.get("count", 0))),
                        ),
                        attributes=decode_attributes(raw.get("attributes", ())),
                        time_unix_nano=int(raw.get("timeUnixNano", 0)),
                        start_time_unix_nano=int(raw.get("startTimeUnixNano", 0)),
                    )
                    for raw in data.get("dataPoints", ())
                )
        yield ExportedMetrics(
            resource=decode_attributes(resource.get("resource", {}).get("attributes", ())),
            points=points,
        )


def _items(
    request: Json, by_resource: str, by_scope: str, items: str
) -> Iterator[tuple[Origin, Json]]:
    for resource in request.get(by_resource, ()):
        for group in resource.get(by_scope, ()):
            scope = group.get("scope", {})
            origin = Origin(
                resource=decode_attributes(resource.get("resource", {}).get("attributes", ())),
                resource_schema_url=resource.get("schemaUrl", ""),
                scope_name=scope.get("name", ""),
                scope_version=scope.get("version", ""),
                scope_attributes=decode_attributes(scope.get("attributes", ())),
                schema_url=group.get("schemaUrl", ""),
            )
            for item in group.get(items, ()):
                yield origin, item
