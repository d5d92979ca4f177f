"""What lines contain: records, their resource and scope, and the headers of segments."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

DEFAULT_PIPELINE = "default"
"""The pipeline of records for which none was named."""
LOGS, SPANS = "logs", "spans"
"""The signals of folders: log records or spans."""
SPAN, SPAN_START = "span", "span_start"
"""The values of the field ``signal`` on a line: an ended span, or the start of a span."""


class Resource(NamedTuple):
    """The OpenTelemetry resource of a segment's records, as plain data."""

    attributes: dict[str, object]
    schema_url: str = ""


class Scope(NamedTuple):
    """The instrumentation scope of a record, as plain data."""

    name: str
    version: str | None = None
    schema_url: str | None = None
    attributes: dict[str, object] | None = None


class Header(NamedTuple):
    """The first line of a segment.

    Attributes:
        writer: The id of the writer that the segment belongs to.
        segment: Its index, from 1.
        last_seq: The ``seq`` of the last record before this segment, or 0.
        last_crc: The checksum of the line before this segment.
        resource: The resource of every record in the segment.
        crc: The checksum of the header itself, which seeds that of the next line.
        generation: The writer's generation; 0 in format 1.
        pipeline: The pipeline that the records were recorded for.
        signal: The signal of the records.
    """

    writer: str
    segment: int
    last_seq: int
    last_crc: int
    resource: Resource
    crc: int
    generation: int = 0
    pipeline: str = DEFAULT_PIPELINE
    signal: str = LOGS


@dataclass(slots=True)
class Record:
    """One log record or span, decoded from a line.

    Times are nanoseconds since 1970, ids lower-case hexadecimal, absent fields their defaults.

    Attributes:
        signal: Empty for a log record, ``span`` for a span that has ended, ``span_start`` for the
            start of one.
        span: The fields that only spans have, by the names of ``docs/journal.md``: name, kind,
            start, parent, trace state, status, and the dropped counts. The body has events and
            links.
        content_sha256: The digest of content that can be erased, which is the same after it was;
            empty if the record has no such content.
    """

    id: str
    seq: int
    timestamp: int | None = None
    observed_timestamp: int | None = None
    event_name: str | None = None
    severity_number: int | None = None
    severity_text: str | None = None
    body: object = None
    attributes: dict[str, Any] = field(default_factory=dict)
    dropped_attributes_count: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    trace_flags: int = 0
    scope: Scope | None = None
    writer: str | None = None
    signal: str = ""
    span: dict[str, Any] | None = None
    content_sha256: str = ""
