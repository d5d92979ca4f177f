"""Records that are decoded when somebody looks at them."""

from __future__ import annotations

from typing import Any

import orjson

from wakelog.record._line import Record, decode

_LATER = tuple(name for name in Record.__slots__ if name not in ("id", "seq"))
_new = object.__new__


class UnreadRecord(Record):
    """A record of which id and number are known; a look at another field decodes the line.

    Attributes:
        line: The line, which refers to no blobs.
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
        record = _new(UnreadRecord)
        record.id, record.seq, record.line = data["id"], data["seq"], line
    except (ValueError, KeyError, TypeError):
        return None
    return record if type(record.id) is str and type(record.seq) is int else None
