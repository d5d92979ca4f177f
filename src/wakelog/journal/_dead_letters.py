"""Dead letters: records that the next hop refuses, set aside with the reason.

They are in ``dead_letters.jsonl`` beside the segments. Each has a line that contains the record's
line, so that it survives the deletion of its segment. Nothing is ever removed from the file: if a
dead letter is delivered later, a second line says so.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal._entry import Entry
from wakelog.journal._folder import one_at_a_time
from wakelog.journal._mark import Mark
from wakelog.record import (
    MARK,
    SALTED,
    Resource,
    decode,
    from_line,
    put_content_back,
    read_fields,
    resolve,
    rfc3339,
    salted_part,
    seal_fields,
    to_line,
)
from wakelog.runtime import SYSTEM, FileSystem, JournalErrors, UnlessMissing, open_to_read
from wakelog.storage import (
    LONGEST_BLOCK,
    AppendFile,
    Blobs,
    Unsynced,
    ends_with_a_line,
    line_before,
    lines,
    read_again,
    segment_name,
    write_whole_lines,
)

DEAD_LETTERS = "dead_letters.jsonl"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
# A line contains the record's line as a JSON string, whose escapes make it longer.
_LONGEST = 2 * LONGEST_BLOCK
_HINT = "The record stays pending until it can be set aside"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside.

    Attributes:
        id: The record's id.
        writer: The writer that recorded it.
        seq: Its sequence number in that writer.
        segment: The index of the segment that it was recorded in.
        offset: The end of its line, in bytes from the start of the segment.
        size: The size of its line in bytes.
        event_name: Its event name, if it has one.
        timestamp: When the event happened, RFC 3339 in UTC, if known.
        outcome: What the next hop did with it: ``refused``, ``too_large`` or ``rejected``.
        reason: The next hop's answer in words.
        time: When it was set aside, RFC 3339 in UTC.
        resource: Its resource.
        line: The record's line, without its newline.
    """

    id: str
    writer: str
    seq: int
    segment: int
    offset: int
    size: int
    event_name: str | None
    timestamp: str | None
    outcome: str
    reason: str
    time: str
    resource: Resource
    line: str

    def entry(self) -> Entry:
        """Return the record as an entry, as it was when it was set aside.

        Raises:
            CorruptLineError: When the line is damaged.
        """
        record = decode(self.line.encode())
        return Entry(record, self.resource, self.writer, Mark(self.segment, self.offset, self.seq))


def write_dead_letter(
    folder: Path, entry: Entry, outcome: str, reason: str, fs: FileSystem = SYSTEM
) -> DeadLetter:
    """Write a record as a dead letter and sync it to disk.

    Args:
        folder: The writer's folder. The caller holds its delivery lock.
        entry: The record.
        outcome: What the next hop did with it: ``refused``, ``too_large`` or ``rejected``.
        reason: Its answer in words.
        fs: The file-system calls.

    Returns:
        The dead letter.

    Raises:
        JournalError: When a file operation fails. Then the record stays pending.
    """
    record, mark = entry.record, entry.mark
    line = _whole(folder / segment_name(mark.segment), dead_letter_line(folder, entry))
    letter = DeadLetter(
        id=record.id,
        writer=entry.writer,
        seq=record.seq,
        segment=mark.segment,
        offset=mark.offset,
        size=len(line),
        event_name=record.event_name,
        timestamp=None if record.timestamp is None else rfc3339(record.timestamp),
        outcome=outcome,
        reason=reason,
        time=rfc3339(time.time_ns()),
        resource=entry.resource,
        line=line.decode(errors="replace"),
    )
    add_dead_letter(folder, letter, fs)
    return letter


def _whole(path: Path, line: bytes) -> bytes:
    """Return a line with its content among its fields, and with its blobs inlined.

    Blobs are deleted before dead letters, and dead letters are rewritten to erase their content.
    """
    if MARK not in line and salted_part(line) is None:
        return line
    plain = orjson.loads(line)
    if SALTED in plain:
        put_content_back(plain)
    resolve(plain, Blobs(path))
    return orjson.dumps(plain, default=lambda data: b64encode(data).decode())


def add_dead_letter(folder: Path, letter: DeadLetter, fs: FileSystem = SYSTEM) -> None:
    """Append a dead letter to a folder's file and sync it to disk.

    Raises:
        JournalError: When a file operation fails.
    """
    plain = {name: getattr(letter, name) for name in DeadLetter.__slots__}
    attributes, schema_url = letter.resource
    plain["resource"] = {"attributes": to_line(attributes), "schema_url": schema_url}
    _append(folder, plain, fs)


def dead_letter_line(folder: Path, entry: Entry) -> bytes:
    """Return the line of a record, without its newline.

    Raises:
        JournalError: When a file operation fails.
    """
    mark = entry.mark
    path = folder / segment_name(mark.segment)
    with JournalErrors("read", path), open_to_read(path) as file:
        begin, line = line_before(file.fileno(), mark.offset)
        if salted_part(line) is not None:  # its content may just be being erased
            line = read_again(path, file.fileno(), begin, len(line))
    # If the newline of the line before was damaged, two lines are joined.
    begin = line.rfind(b'{"id":"%b"' % entry.record.id.encode())
    return line[begin:] if begin > 0 else line


def note_replayed(folder: Path, record_id: str, fs: FileSystem = SYSTEM) -> None:
    """Record, synced to disk, that a dead letter has been delivered after all.

    Raises:
        JournalError: When a file operation fails.
    """
    _append(folder, {"replayed": record_id, "time": rfc3339(time.time_ns())}, fs)


def dead_letters(folder: Path) -> Iterator[DeadLetter]:
    """Yield a writer's dead letters, each once, without those that have been replayed.

    Raises:
        JournalError: When the file cannot be read.
    """
    replayed = replayed_ids(folder)
    seen: set[str] = set()
    for data in _lines(folder):
        letter = _letter(data)
        # A crash between writing the dead letter and the ledger writes the dead letter twice.
        if letter is not None and letter.id not in replayed and letter.id not in seen:
            seen.add(letter.id)
            yield letter


def replayed_ids(folder: Path) -> set[str]:
    """Return the ids of a writer's dead letters that have been delivered after all.

    Raises:
        JournalError: When the file cannot be read.
    """
    return {str(data["replayed"]) for data in _lines(folder) if "replayed" in data}


def dead_letter_seqs(folder: Path) -> list[int]:
    """Return the sequence numbers of a writer's dead letters that have not been replayed.

    Raises:
        JournalError: When the file cannot be read.
    """
    return sorted({letter.seq for letter in dead_letters(folder)})


def dead_letter_ids(folder: Path) -> set[str]:
    """Return the ids of all dead letters of a writer, including replayed ones.

    Raises:
        JournalError: When the file cannot be read.
    """
    return {letter.id for data in _lines(folder) if (letter := _letter(data)) is not None}


def _letter(data: dict[str, Any]) -> DeadLetter | None:
    try:
        resource = data["resource"]
        attributes = {name: from_line(value) for name, value in resource["attributes"].items()}
        letter = DeadLetter(**{**data, "resource": Resource(attributes, resource["schema_url"])})
    except (KeyError, TypeError, AttributeError):
        return None
    texts = letter.id, letter.writer, letter.outcome, letter.reason, letter.time, letter.line
    numbers = letter.seq, letter.segment, letter.offset, letter.size
    whole = all(isinstance(one, str) for one in texts) and all(type(n) is int for n in numbers)
    return letter if whole else None


def is_readable(line: bytes) -> bool:
    """Return whether a line of the file of dead letters is valid."""
    try:
        data = read_fields(line)
    except CorruptLineError:
        return False
    return "replayed" in data or _letter(data) is not None


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / DEAD_LETTERS
    with UnlessMissing("read", path, or_foreign=True), open_to_read(path) as file:
        for _, line, _ in lines(file, longest=_LONGEST):
            # The ledger has not counted a line that a crash cut off.
            with suppress(CorruptLineError):
                yield read_fields(line)


def _append(folder: Path, data: dict[str, Any], fs: FileSystem) -> None:
    path = folder / DEAD_LETTERS
    # Another process may be replacing the file, see ``_write_again``.
    with JournalErrors("write", path, _HINT), one_at_a_time(folder):
        _LettersFile(path, fs).append(seal_fields(data)[0])


class _LettersFile(AppendFile):
    """The file of dead letters, opened to append one line."""

    def __init__(self, path: Path, fs: FileSystem) -> None:
        super().__init__(fs)
        self.path = path

    def append(self, line: bytes) -> None:
        """Append a line and sync it to disk.

        Raises:
            JournalError: When the sync fails.
            OSError: When the file cannot be opened or written.
        """
        self._go_on_in(self._fs.open(self.path, _FLAGS, 0o600), 1)
        try:
            size = os.fstat(self._fd).st_size
            if not ends_with_a_line(self._fd):
                line = b"\n" + line  # a crash cut the last line off
            write_whole_lines(self._fs, self._fd, line)
            self._seq = 1
            self._unsynced.append(Unsynced("", 1, line, size))
            self._sync_written()
        finally:
            self._close_files()

    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        """Replace the file by a copy of its synced part, followed by the line."""
        del error
        [line] = lines
        try:
            with open_to_read(self.path) as file:
                before = file.read(line.context)
            self._fs.write_whole(self.path, before + line.content, synced=True)
            self._go_on_in(self._fs.open(self.path, _FLAGS, 0o600), 2)
        except OSError as second:
            raise self._refused("write", second) from second

    def _sync_names(self) -> None:
        self._fs.sync_directory(self.path.parent)
        self._fs.sync_directory(self.path.parent.parent)

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        return JournalError(operation, self.path, error, _HINT)
