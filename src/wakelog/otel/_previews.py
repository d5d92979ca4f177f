"""Smaller copies of records, with previews of large values, for a next hop with a size limit.

Identity, time, ids, names and numbers stay unchanged, and so does the record in the journal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from wakelog.events import semconv as s
from wakelog.record import Record, sha256, to_line

# A smaller value is probably an id, a name or a number, and shortening it saves little.
_SMALLEST = 256
_PREVIEW = 256
_NOTE_BYTES = 160
_KEPT = s.IDENTITY | {s.WRITER_ID, s.SEQ, s.TRUNCATED_BYTES}


def size_of(record: Record) -> int:
    """Return the size of body and attributes of a record as JSON, in bytes."""
    return len(orjson.dumps(to_line({"body": record.body, "attributes": record.attributes})))


def previewed(source: Record, attributes: dict[str, Any], max_bytes: int) -> Record:
    """Return a record with previews in place of its largest values, as many as needed.

    Args:
        source: The record. It is not changed.
        attributes: The attributes of the returned record, before shortening.
        max_bytes: The target size of body and attributes as JSON. The result is larger if nothing
            is left that may be shortened.

    Returns:
        The record, with ``wakelog.truncated_bytes`` among its attributes if anything was shortened.
    """
    units: list[tuple[int, str | None, bytes]] = []
    for name, value in ((None, source.body), *attributes.items()):
        text = orjson.dumps(to_line(value))
        units.append((len(text), name, text))
    size = whole = sum(len(name or "body") + length + 4 for length, name, _ in units)
    if size <= max_bytes:
        return replace(source, attributes=attributes)
    body, smaller = source.body, dict(attributes)
    smaller[s.TRUNCATED_BYTES] = whole
    size += len(s.TRUNCATED_BYTES) + 12
    for length, name, text in sorted(units, key=lambda unit: -unit[0]):
        if size <= max_bytes or length <= _SMALLEST + _NOTE_BYTES:
            break
        if name in _KEPT:
            continue
        value = body if name is None else attributes[name]
        preview = _preview(value, text, size - max_bytes)
        size += len(orjson.dumps(preview)) - length
        if name is None:
            body = preview
        else:
            smaller[name] = preview
    smaller[s.TRUNCATED_BYTES] = whole - size
    if size >= whole:
        return replace(source, attributes=attributes)
    return replace(source, body=body, attributes=smaller)


def _preview(value: object, text: bytes, excess: int) -> str:
    """Return the beginning of a value, at least ``excess`` bytes shorter, with size and digest."""
    if type(value) is bytes:
        data, shown = value, ""
    elif type(value) is str:
        data = value.encode(errors="replace")
        # Characters that JSON escapes take more bytes, so the ratio differs from text to text.
        kept = len(value) * (len(text) - excess - _NOTE_BYTES) // len(text)
        shown = value[: max(_PREVIEW, kept)]
    else:
        data, shown = text, text[:_PREVIEW].decode(errors="ignore")
    digest = sha256(data).hexdigest()
    return f"{shown}[wakelog: {len(data)} bytes in the journal, sha256 {digest}]"
