"""Records that are decoded when one of their fields is read."""

from __future__ import annotations

from typing import Any

import orjson

from wakelog.record._line import decode
from wakelog.record._parts import Record

_BEGINNING = b'{"id":"'  # of 7 bytes
_LATER = tuple(name for name in Record.__slots__ if name != "seq")
_new = object.__new__


class UnreadRecord(Record):
    """A record that has only its number, and decodes its line when another field is read.

    Attributes:
        line: The line, without references to blobs.
    """

    __slots__ = ("line",)

    line: bytes

    def __getattr__(self, name: str) -> Any:
        """Decode the line at the first read of a field without a value.

        Raises:
            CorruptLineError: When the bytes are not a record.
        """
        if name not in _LATER:
            raise AttributeError(name)
        whole = decode(self.line)
        for field in _LATER:
            setattr(self, field, getattr(whole, field))
        return getattr(whole, name)


def unread(line: bytes) -> UnreadRecord | None:
    """Return a record that is decoded later.

    Args:
        line: The line, without its newline.

    Returns:
        The record; None if the line is not JSON with an id and a number.
    """
    try:
        # The parsed line is not kept, because few records have their fields read.
        data = orjson.loads(line)
        record_id, seq = data["id"], data["seq"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(record_id) is not str or type(seq) is not int:
        return None
    return unread_in_order(line, seq)


def unread_in_order(line: bytes, seq: int) -> UnreadRecord:
    """Return a record that is decoded later, for a line that ``is_next`` has checked.

    Args:
        line: The line, without its newline.
        seq: Its sequence number.
    """
    record = _new(UnreadRecord)
    record.line, record.seq = line, seq
    return record


def is_next(line: bytes, seq: int) -> bool:
    """Return whether a line with a valid checksum is a whole record with a given number.

    Args:
        line: The line, without its newline.
        seq: The sequence number.
    """
    return line.startswith(_BEGINNING) and line.startswith(b'","seq":%d,' % seq, line.find(b'"', 7))
