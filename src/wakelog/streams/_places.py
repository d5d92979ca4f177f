"""Places in the journal, and positions of readers as text that anybody can store."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from typing import NamedTuple

from wakelog.errors import ConfigurationError

# A place is compared as one number, which consists of the segment and the offset in it.
_OFFSET_BITS = 40
BEGINNING = 0
EVERYTHING = (1 << 63) - 1
# For folders without a generation (format 1): a writer that is this much older than the newest one
# of a position, and not in it, had ended when the position was taken.
_SURELY_SEEN_MILLISECONDS = 60_000
_GENERATION = "g"
_SHOWN = 80


class Place(NamedTuple):
    """A place between two lines of a writer.

    Attributes:
        key: The segment and the offset in it; see ``key_of``.
        seq: The ``seq`` of the last record before it that was read.
        chars: How many characters after the place were read before they were in the journal.
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
    """Return when a writer's id was created, in milliseconds since 1970."""
    return int(writer[:8] + writer[9:13], 16)


def is_writer(name: str) -> bool:
    """Tell whether a folder's name is a writer's id."""
    try:
        return uuid.UUID(name).version == 7 and str(uuid.UUID(name)) == name  # noqa: PLR2004
    except ValueError:
        return False


class Position(NamedTuple):
    """A reader's place in every writer that has not ended.

    Attributes:
        marks: The places by writer.
        generation: The greatest generation of a folder when the position was taken; 0 if folders
            had none.
    """

    marks: Mapping[str, Place]
    generation: int = 0

    def is_past(self, writer: str, generation: int) -> bool:
        """Tell whether a writer that is not in the position had ended when it was taken.

        A process that sees a folder also sees all folders of smaller generations. No clock is used,
        except for folders of format 1, which have no generation.
        """
        if self.generation and generation:
            return generation < self.generation
        newest = max(map(created, self.marks), default=0)
        return created(writer) < newest - _SURELY_SEEN_MILLISECONDS


def write_position(position: Position) -> str:
    """Return a position as text.

    Args:
        position: A position that includes the newest known writer.

    Returns:
        Text of letters, digits and ``-_.~``.
    """
    parts = []
    for writer in sorted(position.marks):
        key, seq, chars = position.marks[writer]
        name = base64.urlsafe_b64encode(uuid.UUID(writer).bytes).decode().rstrip("=")
        segment, offset = split_key(key)
        numbers = [segment, offset, seq, *([chars] if chars else [])]
        parts.append(".".join([name, *map(str, numbers)]))
    if position.generation:
        parts.append(f"{_GENERATION}{position.generation}")
    return "~".join(parts) or "0"


def read_position(text: str) -> Position:
    """Parse the result of ``write_position``, also of versions without generations.

    Raises:
        ConfigurationError: If the text is not a position.
    """
    marks: dict[str, Place] = {}
    generation = 0
    try:
        if not isinstance(text, str):
            raise TypeError(text)  # noqa: TRY301 - malformed in one way or another
        for part in [] if text == "0" else text.split("~"):
            if part.startswith(_GENERATION) and "." not in part:
                generation = _digits(part[1:])
                continue
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
            f"after={text!r:.{_SHOWN}} is not a position in a stream. Pass the position of a reader, or "
            "leave it out to begin again"
        )
        raise ConfigurationError(message) from error
    return Position(marks, generation)


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)
