"""Verifying that every line is as it was written, and that no record is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import CorruptLineError
from wakelog.journal import _deletions as deletions
from wakelog.journal._cursor import header_of
from wakelog.journal._dead_letters import DEAD_LETTERS, dead_letter_ids
from wakelog.journal._ledger import load, noted
from wakelog.record import decode, erased_digest, salted_part, verify
from wakelog.runtime import JournalErrors, list_directory, regular_file
from wakelog.storage import (
    blob_misfit,
    line_again,
    lines_of,
    segment_index,
    segment_name,
    segments,
)


class Misfit(NamedTuple):
    """The first fault in a writer's files.

    Attributes:
        file: The file.
        line: The line's number, from 1; 0 for the whole file.
        offset: The offset of the line in bytes.
        what: A description of the fault.
    """

    file: Path
    line: int
    offset: int
    what: str


@dataclass(slots=True)
class _Chain:
    """The state of checking one writer's lines."""

    folder: Path
    acknowledged: int
    erased: frozenset[str] = frozenset()
    seq: int = 0
    crc: int | None = None
    header_due: bool = True

    def misfit(self, index: int, offset: int, line: bytes) -> str | None:
        """Return the fault of the next line, or None."""
        try:
            if self.header_due:
                return self._header(index, line)
            return self._record(self.folder / segment_name(index), offset, line)
        except CorruptLineError as error:
            return str(error)

    def _header(self, index: int, line: bytes) -> str | None:
        self.header_due = False
        header = header_of(line, self.folder / segment_name(index))
        if (header.writer, header.segment) != (self.folder.name, index):
            return f"the header is that of segment {header.segment} of {header.writer}"
        if self.crc is None and index > 1:
            # Earlier segments may have been deleted after their delivery.
            if header.last_seq > self.acknowledged:
                return f"the records up to {header.last_seq} are missing"
            self.seq = header.last_seq
        elif header.last_crc != (self.crc or 0):
            return "the header does not follow the line before it"
        elif header.last_seq > self.seq:
            return f"the records {self.seq + 1} to {header.last_seq} are missing"
        self.crc = header.crc
        return None

    def _record(self, path: Path, offset: int, line: bytes) -> str | None:
        seeds = [] if self.crc is None else [self.crc]
        if (crc := verify(line, *seeds)) is None:
            line = line_again(path, offset, line)
            crc = verify(line, *seeds)
        if crc is None:
            return "its checksum does not match"
        seq = decode(line).seq
        if seq > self.seq + 1:
            return f"the records {self.seq + 1} to {seq - 1} are missing before it"
        # A repeated number is a second copy, written because the sync of its file failed.
        self.seq, self.crc = max(self.seq, seq), crc
        if (part := salted_part(line)) is not None:
            digest = erased_digest(line[part])
            if digest is not None and digest not in self.erased:
                return f"its content was erased, and no seal says so (sha256 {digest})"
        return blob_misfit(path, line, self.erased)


def first_misfit(folder: Path, erased: frozenset[str] = frozenset()) -> Misfit | None:
    """Read all files of a writer and return the first fault.

    The checksum of each line is seeded with that of the line before, across segments, and the
    numbering has no gaps. A torn line at the end was never accepted and is not a fault.

    Args:
        folder: The writer's folder.
        erased: The digests of content that was erased on purpose.

    Returns:
        The fault, or None.

    Raises:
        JournalError: When a file operation fails.
        JournalFormatError: When a newer Wakelog wrote a segment.
    """
    mark = load(folder, folder.name)
    deletion = deletions.load(folder)
    chain = _Chain(folder, max(mark.seq, deletion.seq), erased, seq=deletion.seq)
    if (foreign := _foreign_segment(folder)) is not None:
        return Misfit(foreign, 0, 0, "it is a link or not a regular file, and is not read")
    for index in segments(folder):
        path = folder / segment_name(index)
        chain.header_due = True
        for number, (offset, line) in enumerate(_lines(path), 1):
            if (what := chain.misfit(index, offset, line)) is not None:
                return Misfit(path, number, offset, what)
    if (count := noted(folder)) > chain.seq:
        what = f"{count} records have been dealt with, and there are {chain.seq}"
        return Misfit(folder / "ledger", 1, 0, what)
    if (missing := mark.dead_lettered - len(dead_letter_ids(folder))) > 0:
        return Misfit(folder / DEAD_LETTERS, 1, 0, f"{missing} dead letters are missing")
    return None


def _foreign_segment(folder: Path) -> Path | None:
    """Return the first path with a segment's name that is not a regular file, such as a link."""
    with JournalErrors("list", folder):
        names = list_directory(folder)
    paths = [folder / name for name in sorted(names) if segment_index(name) is not None]
    # A path that no longer exists was deleted in the meantime.
    return next((path for path in paths if not regular_file(path) and os.path.lexists(path)), None)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield a file's whole lines without their newlines, each with its offset."""
    for offset, line, end in lines_of(path):  # none if it was deleted in the meantime
        if offset + len(line) == end and not line.endswith(b"\n"):
            return
        yield offset, line.removesuffix(b"\n")
