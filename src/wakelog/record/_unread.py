"""Records that are decoded when somebody looks at them."""

from __future__ import annotations

import re
from typing import Any

import orjson

from wakelog.record._blobs import APART_FIELD, APART_REFERENCE, MARK, GetBlob, resolve
from wakelog.record._line import Record, decode

_BEGINNING = b'{"id":"'  # of 7 bytes
# What ``apart_of`` writes of a value, and the end of a line that refers to it.
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
    """Return whether a line with a valid checksum is a whole record with a given number.

    Args:
        line: The line, without its newline.
        seq: The number.
    """
    return line.startswith(_BEGINNING) and line.startswith(b'","seq":%d,' % seq, line.find(b'"', 7))


def rejoined(line: bytes, get: GetBlob, *, splices: bool) -> bytes | None:
    """Put what was set apart of a line back into it. The scope and the checksum stay last.

    Args:
        line: The line, without its newline.
        get: Returns what was set apart.
        splices: Whether the line is known to be a log record's. Most of these are put together without
            reading the JSON.

    Returns:
        The line, None when it refers to anything else.
    """
    begin = line.find(b"$") - _BEFORE_TAG
    # Without another tag, the attributes are the only object that may stand before the reference.
    if splices and line.find(b"$", begin + len(APART_REFERENCE)) < 0:
        found, end = _REFERENCE.match(line, begin), line.rfind(_PLACE)
        bare = line[begin - 1 : begin] != b"}"
        place = line[end + len(_PLACE) : -_SEAL_LENGTH]
        certain = place.isdigit() and len(place) <= _MOST_DIGITS
        if found and certain and not (bare and b'"attributes":' in line[:begin]):
            digest, size = found.groups()
            data = get(digest.decode(), int(size), int(place))
            if data is not None and data.startswith(_UNITS, _SALT) and data.endswith(b"}\n"):
                # From the first attribute that was set apart to the body after the last one.
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
