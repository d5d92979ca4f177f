"""Records that are decoded when one of their fields is read."""

from __future__ import annotations

import re
from typing import Any

import orjson

from wakelog.record._blobs import APART_FIELD, APART_REFERENCE, MARK, GetBlob, resolve
from wakelog.record._line import Record, decode

_BEGINNING = b'{"id":"'  # of 7 bytes
# The reference that ``apart_of`` creates, and the end of a line with such a reference.
_REFERENCE = re.compile(
    re.escape(APART_REFERENCE)
    + rb'([0-9a-f]{64})","bytes":(\d{1,15}),"media":"application/json","preview":"","salt":32\}'
)
_BEFORE_TAG = APART_REFERENCE.index(b"$")
_PLACE, _SEAL_LENGTH = b',"apart_at":', len(b',"crc":"00000000"}')
_MOST_DIGITS = 15
_SALT, _ATTRIBUTES = 32, b',"attributes":{'
_UNITS = b'{"attributes":{'
_LATER = tuple(name for name in Record.__slots__ if name != "seq")
_new = object.__new__


class UnreadRecord(Record):
    """A record that has only its number, and decodes its line when another field is read.

    Attributes:
        line: The line, without references to blobs, and with its separate value inserted.
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
        line: The line, without its newline, with its separate value inserted.
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


def rejoined(line: bytes, get: GetBlob, *, splices: bool) -> bytes | None:
    """Insert a line's separate value into it. The scope and the checksum stay last.

    Args:
        line: The line, without its newline.
        get: Returns separate values.
        splices: Whether the line is known to be a log record. Most of these are joined without
            parsing the JSON.

    Returns:
        The line, or None if it has any other reference.
    """
    begin = line.find(b"$") - _BEFORE_TAG
    # Without another tag, the attributes are the only object that may precede the reference.
    if splices and line.find(b"$", begin + len(APART_REFERENCE)) < 0:
        found, end = _REFERENCE.match(line, begin), line.rfind(_PLACE)
        bare = line[begin - 1 : begin] != b"}"
        place = line[end + len(_PLACE) : -_SEAL_LENGTH]
        certain = place.isdigit() and len(place) <= _MOST_DIGITS
        if found and certain and not (bare and b'"attributes":' in line[:begin]):
            digest, size = found.groups()
            data = get(digest.decode(), int(size), int(place))
            if data is not None and data.startswith(_UNITS, _SALT) and data.endswith(b"}\n"):
                # From the first separate attribute to the body after the last one.
                units = data[_SALT + len(_UNITS) : -2]
                if units.startswith(b"}"):  # there is only the body
                    head, units = line[:begin], units[1:]
                elif bare:
                    head = line[:begin] + _ATTRIBUTES
                else:
                    head = line[: begin - 1] + b","
                return b"".join((head, units, line[found.end() : end], line[-_SEAL_LENGTH:]))
    if line.count(MARK) > 1 or APART_FIELD not in line:
        return None
    data = orjson.loads(line)
    last = {name: data.pop(name) for name in ("scope", "crc") if name in data}
    resolve(data, get, 1)
    return orjson.dumps({**data, **last})
