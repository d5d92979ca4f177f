"""Lines of other programs: ``{"timestamp": ..., "event": ...}``, without id and checksum."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import orjson

from wakelog.errors import CorruptLineError
from wakelog.record._blobs import GetBlob
from wakelog.record._identity import parse_rfc3339
from wakelog.record._line import decode
from wakelog.record._parts import Record
from wakelog.record._values import from_line

_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_loose(line: bytes, record_id: str, blobs: GetBlob | None = None) -> Record:
    """Decode a line of a file into which another program may have written.

    Args:
        line: The line, with or without its newline.
        record_id: The id of the record, if the line has none.
        blobs: As for ``decode``.

    Returns:
        The record; for a line of another program, which has ``timestamp`` and ``event``, with the event
        as its body. A time without a zone is UTC, and an invalid one is left out.

    Raises:
        CorruptLineError: When the bytes are no such line, or a damaged line of Wakelog's.
    """
    try:
        return decode(line, blobs)
    except CorruptLineError:
        return _decode_unsealed(line, record_id)


def _decode_unsealed(line: bytes, record_id: str) -> Record:
    try:
        data = orjson.loads(line)
        event = data["event"]
        sealed = "crc" in data
        time = data.get("timestamp")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptLineError(f"not a record: {bytes(line[:80])!r} ({error})") from error
    if sealed:
        raise CorruptLineError(f"a damaged record: {bytes(line[:80])!r}")
    return Record(id=record_id, seq=0, timestamp=_nanoseconds(time), body=from_line(event))


def _nanoseconds(time: object) -> int | None:
    if isinstance(time, int | float) and not isinstance(time, bool):
        return int(time * _SECOND) if math.isfinite(time) else None
    if not isinstance(time, str):
        return None
    try:
        return parse_rfc3339(time)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds * 1000
