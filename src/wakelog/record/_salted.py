"""Content that can be erased: it is on its line, in one part that can be found without parsing JSON.

The part follows ``seq``, or ``signal`` on the line of a span::

    {"id":"...","seq":12,"salted":[118,"<salt>",{"attributes":{...},"body":...}],...,"crc":"..."}

The number is the size of the part in bytes: from after the comma to before the closing bracket. To
erase the content, the part is overwritten in place with one of the same size, so that no other byte
of the file changes::

    {"id":"...","seq":12,"salted":[118,"<digest>","<padding>"],...,"crc":"..."}

The digest is the SHA-256 of the erased part. The random salt prevents guessing content from it. The
padding is chosen so that the CRC-32 of the part, and therefore of the line, stays the same.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any
from zlib import crc32

import orjson

from wakelog.record._blobs import take_content
from wakelog.record._identity import sha256
from wakelog.runtime import ForkOrder, notice_fork, noticed, reset_in_child

SALTED = "salted"
"""The field with the part."""
SALTED_FIELD = b',"salted":['
"""The bytes that every line with such a part contains. Other lines may contain them too."""
ERASED = "wakelog.erased"
"""The attribute that a record has in place of its erased content."""
# Possessive quantifiers: a line without the field is refused without backtracking.


@cache
def _field() -> re.Pattern[bytes]:
    return re.compile(
        rb'\{"id":"[^"\\]*+(?:\\.[^"\\]*+)*+","seq":\d++(?:,"signal":"[a-z_]++")?+,"salted":\[(\d{1,9}),'
    )


@cache
def _erased_part_of() -> re.Pattern[bytes]:
    return re.compile(rb'"([0-9a-f]{64})","[01]*"')


_SALT_BYTES = 16
_SALT_SIZE = 2 * _SALT_BYTES  # in hexadecimal
_AROUND = _SALT_SIZE + 3  # the salt, its quotation marks and the comma
_SALTS = 256
_CHECK = 32
"""How many characters of the padding are chosen, one for each bit of the checksum."""
_DIGEST_FIELD = b'"%b","'
SMALLEST_PART = len(_DIGEST_FIELD % (b"0" * 64)) + _CHECK + 1
"""The size of the smallest part that can be erased."""
SALTED_BYTES = SMALLEST_PART + 32
"""An upper limit of the bytes that the field adds to a line, including spaces after tiny content."""

# Unused salts. Creating many at once takes a tenth of the time.
_salts: list[bytes] = []


def salted_field(text: bytes) -> bytes:
    """Return the field with a line's content, beginning with a comma.

    Args:
        text: The content as an encoded JSON object: ``attributes``, and ``body`` if there is one.
    """
    if not noticed[0]:
        notice_fork()
    try:
        salt = _salts.pop()
    except IndexError:
        salt = _make_salts()
    size = len(text) + _AROUND
    if size < SMALLEST_PART:
        # Tiny content is followed by spaces, so that the erased part fits in its place.
        text, size = text.ljust(SMALLEST_PART - _AROUND), SMALLEST_PART
    return b',"salted":[%d,"%b",%b]' % (size, salt, text)


def middle_of(line: dict[str, Any], apart: frozenset[str], ending: bytes) -> bytes:
    """Return the fields of a line as its middle part, with its content set apart if requested.

    Args:
        line: The fields, in their form on the line. They are changed.
        apart: The attributes that are content; none if nothing is set apart.
        ending: The end of the middle part, already encoded.
    """
    beginning = b""
    if apart and (content := take_content(line, apart)):
        if "signal" in line:  # stays at its place, by which the starts of spans are recognized
            beginning = b',"signal":%b' % orjson.dumps(line.pop("signal"))
        beginning += salted_field(orjson.dumps(content))
    rest = b"," + orjson.dumps(line)[1:-1] if line else b""
    return beginning + rest + ending


@cache
def _each_salt() -> list[slice[int, int, None]]:
    return [slice(at * _SALT_SIZE, (at + 1) * _SALT_SIZE) for at in range(_SALTS)]


def _make_salts() -> bytes:
    """Create salts, and return one that is not used elsewhere."""
    text = os.urandom(_SALTS * _SALT_BYTES).hex().encode()
    first, *others = map(text.__getitem__, _each_salt())
    _salts.extend(others)
    return first


# A forked child would otherwise use the same salts as its parent.
reset_in_child(_salts.clear, ForkOrder.IDENTITY)


def salted_part(line: bytes) -> slice | None:
    """Return the place of a line's salted part, with or without its content.

    The line need not be valid JSON, because damage outside the part does not move it.

    Args:
        line: The line.

    Returns:
        The place, or None without such a part.
    """
    found = _field().match(line)
    if found is None:
        return None
    begin = found.end()
    end = begin + int(found[1])
    return slice(begin, end) if line.startswith(b"]", end) else None


def is_cut_in_content(line: bytes) -> bool:
    """Return whether an incomplete line ends inside its salted part."""
    return _field().match(line) is not None and salted_part(line) is None


def digest_of(part: bytes) -> str:
    """Return the digest of a salted part, which is the same after its content was erased."""
    digest = erased_digest(part)
    return sha256(part).hexdigest() if digest is None else digest


def erased_digest(part: bytes) -> str | None:
    """Return the digest in a part whose content was erased; None for a part with content."""
    if part.startswith(b'",', _SALT_SIZE + 1):
        return None
    found = _erased_part_of().fullmatch(part)
    return found[1].decode() if found else None


def erased_part(part: bytes) -> bytes:
    """Return what a part is overwritten with to erase its content.

    It has the same size and the same CRC-32, whatever the checksum of the bytes before it.

    Args:
        part: The part.

    Raises:
        ValueError: If it is too small to be a part that ``salted_field`` has created.
    """
    head = _DIGEST_FIELD % digest_of(part).encode()
    if len(part) < SMALLEST_PART:
        message = f"a part of {len(part)} bytes is too small to be erased"
        raise ValueError(message)
    begin = head + b"0" * (len(part) - len(head) - _CHECK - 1)
    wanted = crc32(part) ^ crc32(b'%b%b"' % (begin, b"0" * _CHECK))
    flipped: frozenset[int] = frozenset()
    for difference, characters in _FLIPS:
        if wanted ^ difference < wanted:
            wanted ^= difference
            flipped ^= characters
    return begin + bytes(b"01"[at in flipped] for at in range(_CHECK)) + b'"'


def _flips() -> list[tuple[int, frozenset[int]]]:
    """Return which of the last characters of a padding to flip between 0 and 1 for a checksum.

    How a flip changes the CRC-32 depends only on its distance from the end. These 32 changes are
    linearly independent, so that some flips together make any change. This is Gaussian elimination:
    each result has a highest bit of its own, highest first.
    """
    none = b"0" * _CHECK + b'"'
    rows: dict[int, tuple[int, frozenset[int]]] = {}
    for at in range(_CHECK):
        flipped = none[:at] + b"1" + none[at + 1 :]
        difference, characters = crc32(flipped) ^ crc32(none), frozenset({at})
        while (top := difference.bit_length()) in rows:
            difference ^= rows[top][0]
            characters ^= rows[top][1]
        rows[top] = difference, characters
    return [rows[top] for top in sorted(rows, reverse=True)]


_FLIPS = _flips()


def sealed_form(line: bytes, before: bytes = b"") -> bytes:
    """Return the bytes that a seal covers for a line: the digest in place of its salted part.

    They are the same before and after the content was erased.

    Args:
        line: The line, without its newline.
        before: Bytes to put before them.
    """
    found = _field().match(line)
    if found is None:
        return before + line
    begin = found.end()
    end = begin + int(found[1])
    part = line[begin:end]
    # As digest_of, which takes longer.
    has_content = part.startswith(b'",', _SALT_SIZE + 1)
    digest = sha256(part).hexdigest() if has_content else digest_of(part)
    return b'%b%b"%b"%b' % (before, line[:begin], digest.encode(), line[end:])


def digest_on(line: bytes) -> str:
    """Return the digest of the salted part of a line that has the field.

    Raises:
        ValueError: If the part is not where it has to be.
    """
    place = salted_part(line)
    if place is None:
        message = "its salted part is not where it has to be"
        raise ValueError(message)
    return digest_of(line[place])


def is_salted_part(form: Any) -> bool:
    """Return whether the field ``salted`` of a parsed line has a known form."""
    if type(form) is not list or len(form) != 3:  # noqa: PLR2004 - as in the module's text
        return False
    content = form[2]
    if type(content) is dict:
        return type(content.get("attributes", {})) is dict
    return type(content) is str


def put_content_back(line: dict[str, Any]) -> bool:
    """Move the content of a parsed line from its salted part to the fields where it belongs.

    Erased content is replaced by the attribute ``wakelog.erased``, with its size and digest.

    Args:
        line: The parsed line, which has the field ``salted``. It is changed.

    Returns:
        Whether the part has a known form. Otherwise the line is not one of Wakelog's.
    """
    part = line.pop(SALTED)
    if not is_salted_part(part):
        return False
    size, text, content = part
    if type(content) is str:
        note = f"[wakelog: {size} bytes of application/json are not here, sha256 {text}]"
        content = {"attributes": {ERASED: note}}
    moved = content.pop("attributes", None)
    if moved:
        attributes = line.get("attributes")
        if attributes is None:
            line["attributes"] = moved
        elif type(attributes) is dict:
            # If an attribute has the name of the tag, the attributes are in a tagged map.
            tagged = attributes.get("$wakelog") == "map"
            (attributes["value"] if tagged else attributes).update(moved)
        else:
            return False
    line.update(content)
    return True
