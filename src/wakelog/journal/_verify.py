"""Verifying: does every line hold what was written, and is every record in one place?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal._cursor import header_of
from wakelog.journal._dead_letters import DEAD_LETTERS, dead_letter_ids
from wakelog.journal._ledger import load, noted
from wakelog.record import decode, verify
from wakelog.runtime import list_directory, open_to_read, regular_file
from wakelog.storage import blob_misfit, lines, segment_index, segment_name, segments


class Misfit(NamedTuple):
    """The first thing in a writer's files that is not as it was written.

    Attributes:
        file: The file.
        line: The line's number, from 1; 0 for what is said of the whole file.
        offset: Bytes from the start of the file to the start of the line.
        what: What does not fit, in words.
    """

    file: Path
    line: int
    offset: int
    what: str


@dataclass(slots=True)
class _Chain:
    """How far the lines of a writer fit together."""

    folder: Path
    dealt_with: int
    erased: frozenset[str] = frozenset()
    seq: int = 0
    crc: int | None = None
    header_due: bool = True

    def misfit(self, index: int, line: bytes) -> str | None:
        """Say what does not fit about the next line, None when it does."""
        try:
            return self._header(index, line) if self.header_due else self._record(index, line)
        except CorruptLineError as error:
            return str(error)

    def _header(self, index: int, line: bytes) -> str | None:
        self.header_due = False
        header = header_of(line, self.folder / segment_name(index))
        if (header.writer, header.segment) != (self.folder.name, index):
            return f"the header is that of segment {header.segment} of {header.writer}"
        if self.crc is None and index > 1:
            # Earlier segments may be deleted once they have been dealt with.
            if header.last_seq > self.dealt_with:
                return f"the records up to {header.last_seq} are missing"
            self.seq = header.last_seq
        elif header.last_crc != (self.crc or 0):
            return "the header does not follow the line before it"
        elif header.last_seq > self.seq:
            return f"the records {self.seq + 1} to {header.last_seq} are missing"
        self.crc = header.crc
        return None

    def _record(self, index: int, line: bytes) -> str | None:
        crc = verify(line, *([] if self.crc is None else [self.crc]))
        if crc is None:
            return "its checksum does not fit"
        seq = decode(line).seq
        if seq > self.seq + 1:
            return f"the records {self.seq + 1} to {seq - 1} are missing before it"
        # A number that was seen before is a copy, written because the sync of its file failed.
        self.seq, self.crc = max(self.seq, seq), crc
        return blob_misfit(self.folder / segment_name(index), line, self.erased)


def first_misfit(folder: Path, erased: frozenset[str] = frozenset()) -> Misfit | None:
    """Read everything that a writer has written and find the first thing that does not fit.

    Every line's checksum is seeded with that of the line before, over all segments, and the
    numbering has no gaps. A last line without its end was never accepted, and fits.

    Args:
        folder: The writer's folder.
        erased: The digests of blobs that were deleted on purpose.

    Returns:
        The misfit, or None when everything fits.

    Raises:
        JournalError: When the file system refuses.
        JournalFormatError: When a newer Wakelog wrote a segment.
    """
    mark = load(folder, folder.name)
    deletion = deletions.load(folder)
    chain = _Chain(folder, max(mark.seq, deletion.seq), erased, seq=deletion.seq)
    if (foreign := _foreign_segment(folder)) is not None:
        return Misfit(foreign, 0, 0, "it is a link or no regular file, and is not read")
    for index in segments(folder):
        path = folder / segment_name(index)
        chain.header_due = True
        for number, (offset, line) in enumerate(_lines(path), 1):
            if (what := chain.misfit(index, line)) is not None:
                return Misfit(path, number, offset, what)
    if (count := noted(folder)) > chain.seq:
        what = f"{count} records have been dealt with, and there are {chain.seq}"
        return Misfit(folder / "ledger", 1, 0, what)
    if (missing := mark.dead_lettered - len(dead_letter_ids(folder))) > 0:
        return Misfit(folder / DEAD_LETTERS, 1, 0, f"{missing} dead letters are missing")
    return None


def _foreign_segment(folder: Path) -> Path | None:
    """Return what stands at the name of a segment and is none, such as a link."""
    try:
        names = list_directory(folder)
    except OSError as error:
        raise JournalError("list", folder, error.strerror or error) from error
    paths = [folder / name for name in sorted(names) if segment_index(name) is not None]
    # What is not there any more was deleted in this moment.
    return next((path for path in paths if not regular_file(path) and os.path.lexists(path)), None)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield a file's whole lines without their newlines, each with its offset."""
    try:
        with open_to_read(path) as file:
            for offset, line, end in lines(file):
                if offset + len(line) == end and not line.endswith(b"\n"):
                    return
                yield offset, line.removesuffix(b"\n")
    except FileNotFoundError:
        return  # it was delivered and deleted in this moment
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
