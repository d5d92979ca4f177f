"""Places in the journal, and positions: where a reader of a session is, as text for anyone to keep."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from typing import NamedTuple

from wakelog.errors import ConfigurationError

# A place in a writer's segments is compared as one number: the segment, and the offset in it.
_OFFSET_BITS = 40
BEGINNING = 0
EVERYTHING = (1 << 63) - 1
# A writer that is this much older than the newest one of a position, and not named there, was
# finished when the position was taken. Its id is made shortly before its folder can be seen.
_SURELY_SEEN_MILLISECONDS = 60_000
_SHOWN = 80


class Place(NamedTuple):
    """A place between two lines of a writer.

    Attributes:
        key: The segment and the offset in it, see ``key_of``.
        seq: The ``seq`` of the last record before it that was seen.
        chars: Characters of the text after the place that were seen before it was journaled.
    """

    key: int = BEGINNING
    seq: int = 0
    chars: int = 0


def key_of(segment: int, offset: int) -> int:
    """Return the number by which a place is compared."""
    return (segment << _OFFSET_BITS) | offset


def split_key(key: int) -> tuple[int, int]:
    """Return the segment and the offset of a place."""
    return key >> _OFFSET_BITS, key & ((1 << _OFFSET_BITS) - 1)


def created(writer: str) -> int:
    """Return when a writer's id was made, in milliseconds since 1970."""
    return int(writer[:8] + writer[9:13], 16)


def is_writer(name: str) -> bool:
    """Tell whether a folder's name is a writer's id."""
    try:
        return uuid.UUID(name).version == 7 and str(uuid.UUID(name)) == name  # noqa: PLR2004
    except ValueError:
        return False


def write_position(marks: Mapping[str, Place]) -> str:
    """Write down where a reader is in every writer that is not finished.

    Args:
        marks: By writer; the newest writer that is known has to be among them.

    Returns:
        Text of letters, digits and ``-_.~``.
    """
    parts = []
    for writer in sorted(marks):
        key, seq, chars = marks[writer]
        name = base64.urlsafe_b64encode(uuid.UUID(writer).bytes).decode().rstrip("=")
        segment, offset = split_key(key)
        numbers = [segment, offset, seq, *([chars] if chars else [])]
        parts.append(".".join([name, *map(str, numbers)]))
    return "~".join(parts) or "0"


def read_position(text: str) -> dict[str, Place]:
    """Read what ``write_position`` wrote.

    Raises:
        ConfigurationError: When the text is no position.
    """
    marks: dict[str, Place] = {}
    try:
        for part in [] if text == "0" else text.split("~"):
            name, segment, offset, seq, *chars = part.split(".")
            writer = str(uuid.UUID(bytes=base64.urlsafe_b64decode(name + "==")))
            numbers = [int(segment), int(offset), int(seq), *map(int, chars)]
            if not is_writer(writer) or min(numbers) < 0 or len(numbers) > 4:  # noqa: PLR2004
                raise ValueError(part)  # noqa: TRY301 - malformed in one way or another
            if numbers[0] >> 23 or numbers[1] >> _OFFSET_BITS:
                raise ValueError(part)  # noqa: TRY301
            marks[writer] = Place(key_of(*numbers[:2]), *numbers[2:])
    except (ValueError, TypeError, binascii.Error) as error:
        message = (
            f"{text[:_SHOWN]!r} is no position in a stream. Hand in what a reader's position was, "
            "or leave it out to begin anew"
        )
        raise ConfigurationError(message) from error
    return marks


def is_finished(writer: str, marks: Mapping[str, Place]) -> bool:
    """Tell whether a writer that a position does not name was finished when it was taken."""
    newest = max(map(created, marks), default=0)
    return created(writer) < newest - _SURELY_SEEN_MILLISECONDS
