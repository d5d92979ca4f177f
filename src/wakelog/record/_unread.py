"""Records that are decoded when somebody looks at them."""

from __future__ import annotations

from typing import Any

import orjson

from wakelog.record._blobs import GetBlob, resolve
from wakelog.record._line import Record, decode

_BEGINNING = b'{"id":"'
_LATER = tuple(name for name in Record.__slots__ if name != "seq")
_new = object.__new__


class UnreadRecord(Record):
    """A record of which the number is known; a look at another field decodes the line.

    Attributes:
        line: The line, which refers to no blobs. What was set apart of it is on it again.
        end: Where the next line begins in its file; 0 when that is not known.
    """

    __slots__ = ("end", "line")

    line: bytes
    end: int

    def __getattr__(self, name: str) -> Any:
        """Decode the line, at the first look at a field that has no value yet.

        Raises:
            CorruptLineError: When the bytes are no record.
        """
        if name not in _LATER:
            raise AttributeError(name)
        whole = decode(self.line)
        for field in _LATER:
            setattr(self, field, getattr(whole, field))
        return getattr(whole, name)


def unread(line: bytes) -> UnreadRecord | None:
    """Make a record that is decoded later.

    Args:
        line: The line, without its newline.

    Returns:
        The record; None when the line is not JSON with an id and a number.
    """
    try:
        # What is read here is not kept: there are many lines, and few whose fields are looked at.
        data = orjson.loads(line)
        record_id, seq = data["id"], data["seq"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(record_id) is not str or type(seq) is not int:
        return None
    record = _new(UnreadRecord)
    record.line, record.seq, record.end = line, seq, 0
    return record


def unread_in_order(
    line: bytes, seq: int, end: int, get: GetBlob | None = None
) -> UnreadRecord | None:
    """Make a record that is decoded later, of a line whose checksum says that Wakelog has written it.

    Args:
        line: The line, without its newline.
        seq: The number that it is expected to have.
        end: Where the next line begins.
        get: Returns what was set apart of the line, which refers to nothing else; without, to nothing.

    Returns:
        The record; None when the line does not begin with an id and that number.
    """
    if not line.startswith(_BEGINNING) or not line.startswith(
        b'","seq":%d,' % seq, line.find(b'"', len(_BEGINNING))
    ):
        return None
    if get is not None:
        line = _whole(line, get)
    record = _new(UnreadRecord)
    record.line, record.seq, record.end = line, seq, end
    return record


def _whole(line: bytes, get: GetBlob) -> bytes:
    """Put what was set apart of a line back into it. The scope and the checksum stay last."""
    data = orjson.loads(line)
    last = {name: data.pop(name) for name in ("scope", "crc") if name in data}
    resolve(data, get, 1)
    return orjson.dumps({**data, **last})
