"""The line: what one log record looks like on disk, and the way back.

A *record* is a line at a position. This package knows the line only: its fields, the forms of
values that JSON lacks, ids and time. It knows no files and no OpenTelemetry.
"""

from wakelog.record._identity import parse_rfc3339, rfc3339, uuid7
from wakelog.record._line import (
    FORMAT,
    Header,
    Record,
    Resource,
    Scope,
    decode,
    encode,
    read_header,
    seal,
    seal_header,
    verify,
)
from wakelog.record._unsealed import decode_unsealed
from wakelog.record._values import from_line, to_line

__all__ = [
    "FORMAT",
    "Header",
    "Record",
    "Resource",
    "Scope",
    "decode",
    "decode_unsealed",
    "encode",
    "from_line",
    "parse_rfc3339",
    "read_header",
    "rfc3339",
    "seal",
    "seal_header",
    "to_line",
    "uuid7",
    "verify",
]
