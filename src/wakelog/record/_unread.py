"""Records that are decoded when somebody looks at them."""

from __future__ import annotations

from typing import Any

import orjson

from wakelog.record._blobs import GetBlob, resolve
from wakelog.record._line import Record, decode

_BEGINNING = b'{"id":"'  # of 7 bytes
_LATER = tuple(name for name in Record.__slots__ if name != "seq")
_new = object.__new__


class UnreadRecord(Record):
    """A record of which the number is known; a look at another field decodes the line.

    Attributes:
        line: The line, which refers to no blobs. What was set apart of it is on it again.
    """

    __slots__ = ("line",)

    line: bytes

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
    return unread_in_order(line, seq)


def unread_in_order(line: bytes, seq: int) -> UnreadRecord:
    """Make a record that is decoded later, of a line of which ``is_next`` holds.

    Args:
        line: The line, without its newline, with what was set apart of it on it again.
        seq: Its number.
    """
    record = _new(UnreadRecord)
    record.line, record.seq = line, seq
    return record


def is_next(line: bytes, seq: int) -> bool:
    """Tell whether a line, whose checksum says that Wakelog has written it, is a record of a number.

    Args:
        line: The line, without its newline.
        seq: The number.
    """
    return line.startswith(_BEGINNING) and line.startswith(b'","seq":%d,' % seq, line.find(b'"', 7))


def rejoined(line: bytes, get: GetBlob) -> bytes:
    """Put what was set apart of a line back into it. The scope and the checksum stay last.

    Args:
        line: The line, without its newline, which refers to nothing else.
        get: Returns what was set apart.
    """
    data = orjson.loads(line)
    last = {name: data.pop(name) for name in ("scope", "crc") if name in data}
    resolve(data, get, 1)
    return orjson.dumps({**data, **last})
