"""The line: encoding a log record for the disk, and decoding it.

A *record* is a line at a position. This package knows the line only: its fields, the forms of
values that JSON lacks, ids and time. It knows no files and no OpenTelemetry.
"""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.record._blobs import (
    MARK,
    MORE_ATTRIBUTES,
    Blob,
    Content,
    GetBlob,
    attributes_on,
    blobs_of,
    is_reference,
    references,
    resolve,
    value_of,
)
from wakelog.record._identity import parse_rfc3339, rfc3339, sha256, uuid7, uuid8
from wakelog.record._line import (
    FORMAT,
    SEAL_BYTES,
    content_on,
    decode,
    encode,
    read_fields,
    read_header,
    salvage_resource,
    seal,
    seal_fields,
    seal_header,
    seal_own,
    stated_crc,
    verify,
)
from wakelog.record._objects import (
    fields_in,
    loaded_numbers,
    opened,
    text_of,
    traceback_of,
    type_name,
)
from wakelog.record._parts import (
    DEFAULT_PIPELINE,
    LOGS,
    SPAN,
    SPAN_START,
    SPANS,
    Header,
    Record,
    Resource,
    Scope,
)
from wakelog.record._salted import (
    ERASED,
    SALTED,
    SALTED_FIELD,
    SMALLEST_PART,
    digest_of,
    erased_digest,
    erased_part,
    is_cut_in_content,
    is_salted_part,
    put_content_back,
    salted_field,
    salted_part,
    sealed_form,
)
from wakelog.record._unread import UnreadRecord, is_next, unread, unread_in_order
from wakelog.record._values import TAG, from_line, is_json, kept, to_line

if TYPE_CHECKING:
    from wakelog.record._unsealed import decode_loose

__all__ = [
    "DEFAULT_PIPELINE",
    "ERASED",
    "FORMAT",
    "LOGS",
    "MARK",
    "MORE_ATTRIBUTES",
    "SALTED",
    "SALTED_FIELD",
    "SEAL_BYTES",
    "SMALLEST_PART",
    "SPAN",
    "SPANS",
    "SPAN_START",
    "TAG",
    "Blob",
    "Content",
    "GetBlob",
    "Header",
    "Record",
    "Resource",
    "Scope",
    "UnreadRecord",
    "attributes_on",
    "blobs_of",
    "content_on",
    "decode",
    "decode_loose",
    "digest_of",
    "encode",
    "erased_digest",
    "erased_part",
    "fields_in",
    "from_line",
    "is_cut_in_content",
    "is_json",
    "is_next",
    "is_reference",
    "is_salted_part",
    "kept",
    "loaded_numbers",
    "opened",
    "parse_rfc3339",
    "put_content_back",
    "read_fields",
    "read_header",
    "references",
    "resolve",
    "rfc3339",
    "salted_field",
    "salted_part",
    "salvage_resource",
    "seal",
    "seal_fields",
    "seal_header",
    "seal_own",
    "sealed_form",
    "sha256",
    "stated_crc",
    "text_of",
    "to_line",
    "traceback_of",
    "type_name",
    "unread",
    "unread_in_order",
    "uuid7",
    "uuid8",
    "value_of",
    "verify",
]

# Only readers need it.
__getattr__ = lazy_names(__name__, {"wakelog.record._unsealed": ["decode_loose"]})
