"""Dead letters of sessions: events that were refused while others were accepted.

They are in ``<session>/.dead_letters/``, in a file with the format of a journal's dead letters.
Without local files, the newest ones are in memory.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from wakelog.events import semconv as s
from wakelog.gateway._events import ForwardedEvent, encoded_line
from wakelog.gateway._files import make_private
from wakelog.gateway._locks import PRIVATE
from wakelog.journal import DeadLetter, add_dead_letter, dead_letters, note_replayed
from wakelog.record import Resource, rfc3339, seal

LETTERS = ".dead_letters"
"""The subdirectory of a session's directory for its dead letters."""

_FILES_OF_LETTERS = f"{LETTERS}/dead_letters.jsonl"


# The line of a dead letter contains the whole event, without blobs or a stub.
_NO_LIMITS = sys.maxsize, sys.maxsize


class FoundLetter(NamedTuple):
    """A dead letter and its directory, which is None for one in memory."""

    folder: Path | None
    letter: DeadLetter


class DeadLetters:
    """The dead letters below a base directory, and those of this logger in memory.

    Args:
        base: The base directory.
        most_in_memory: The maximum number in memory.
    """

    def __init__(self, base: Path, most_in_memory: int) -> None:
        self._base = base
        self._in_memory: deque[DeadLetter] = deque(maxlen=most_in_memory)

    def add(self, session: Path | None, letter: DeadLetter) -> None:
        """Store a dead letter.

        Args:
            session: The session's directory; None without local files.
            letter: The dead letter.

        Raises:
            JournalError: If it cannot be written.
            OSError: If its directory cannot be created.
        """
        if session is None:
            self._in_memory.append(letter)
            return
        folder = session / LETTERS
        make_private(folder)
        add_dead_letter(folder, letter)

    def find(self, folder: Path | None, session_id: str | None) -> list[FoundLetter]:
        """Return dead letters, oldest first, without duplicates and without replayed ones.

        Args:
            folder: A session's directory; None for all sessions.
            session_id: The id of that session.

        Raises:
            JournalError: If they cannot be read.
        """
        among = folders_of_letters(self._base) if folder is None else [folder / LETTERS]
        found = [FoundLetter(one, letter) for one in among for letter in dead_letters(one)]
        for letter in list(self._in_memory):
            said = letter.entry().record.attributes.get(s.CONVERSATION_ID)
            if session_id in (None, said):
                found.append(FoundLetter(None, letter))
        return sorted(found, key=lambda one: one.letter.time)

    def ids(self, session: Path) -> set[str]:
        """Return the ids of a session's dead letters on disk."""
        return {letter.id for letter in dead_letters(session / LETTERS)}

    def note_replayed(self, found: FoundLetter) -> None:
        """Note that a dead letter was accepted by a replay.

        Raises:
            JournalError: If the note cannot be written.
        """
        if found.folder is not None:
            note_replayed(found.folder, found.letter.id)
        elif found.letter in self._in_memory:
            self._in_memory.remove(found.letter)


def line_of(event: ForwardedEvent) -> bytes:
    """Return a line for an event that is in no file, so that it can be read back."""
    origin = event.wakelog
    attributes: dict[str, Any] = {s.CONVERSATION_ID: origin.session_id, s.GATEWAY_FORWARD: True}
    plain = dict(event)
    content = encoded_line(plain, origin.event_name, attributes, origin.timestamp, *_NO_LIMITS)
    return seal(origin.id, 1, content, 0)[0]


def letter_of(
    event: ForwardedEvent, line: bytes, writer: str, offset: int, outcome: str, reason: str
) -> DeadLetter:
    """Return the dead letter of an event.

    Args:
        event: The event.
        line: The event's line, with or without its newline.
        writer: The writer of its file, which ends in the file's number.
        offset: The offset in the file after the line.
        outcome: ``refused`` after repeated failures, or ``rejected`` by the transport.
        reason: The reason in words.
    """
    origin = event.wakelog
    line = line.removesuffix(b"\n")
    number = writer.rpartition(".")[2]
    return DeadLetter(
        id=origin.id,
        writer=writer,
        seq=0,
        segment=int(number) if number.isdecimal() else 0,
        offset=offset,
        size=len(line),
        event_name=origin.event_name,
        timestamp=rfc3339(origin.timestamp),
        outcome=outcome,
        reason=reason,
        time=rfc3339(time.time_ns()),
        resource=Resource({}),
        line=line.decode(errors="replace"),
    )


def folders_of_letters(path: Path) -> list[Path]:
    """List the directories with dead letters below a gateway's base directory or a session's."""
    return sorted({file.parent for file in path.rglob(_FILES_OF_LETTERS)})


def dead_letter_folders(path: Path) -> list[Path] | None:
    """List the directories that have dead letters of a gateway.

    Args:
        path: A gateway's base directory, or that of a session.

    Returns:
        The directories, each for ``wakelog.journal.dead_letters``; None if the path is not a
        gateway's.
    """
    if os.path.isdir(path / PRIVATE):
        return folders_of_letters(path)
    letters = path / LETTERS  # the path may be one session's directory
    return [letters] if os.path.isdir(letters) else None
