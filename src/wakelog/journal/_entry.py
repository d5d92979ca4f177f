"""Entries of a journal: records with the positions after them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from wakelog.journal._mark import Mark
from wakelog.record import Record, Resource, UnreadRecord, stated_crc, unread_in_order


class Entry(NamedTuple):
    """A record, its resource and writer, and the mark after it."""

    record: Record
    resource: Resource
    writer: str
    mark: Mark


class LaterEntry(Entry):
    """An entry that creates its record and mark only when they are read, which most never are.

    Its items are the line, the resource, the writer, an earlier mark in the same segment, the
    record's number, and the offset of the next line. The garbage collector thus tracks only one
    object for each record.
    """

    __slots__ = ()
    __repr__ = tuple.__repr__  # it has other items than `Entry`

    # Properties in C, because both are read for every record.
    line = property(itemgetter(0), doc="The line, without its newline.")
    seq = property(itemgetter(4), doc="The record's sequence number.")

    @property
    def record(self) -> UnreadRecord:
        """The record."""
        return unread_in_order(self.line, self.seq)

    @property
    def mark(self) -> Mark:
        """The mark after the record."""
        return self[3].after(self[5], self.seq, stated_crc(self.line))  # type: ignore[misc]


later_entry: Callable[[tuple[bytes, Resource, str, Mark, int, int]], LaterEntry] = partial(
    tuple.__new__, LaterEntry
)
"""Returns a ``LaterEntry`` of its items, without calling a function in Python."""


class EntryBatch:
    """Some records in order.

    Attributes:
        entries: The records.
        mark: The mark after the last counted line. The number of the next good record says how many
            records the damaged lines before it were; without one, an estimate is used once the
            writer has ended.
        damaged: The damaged lines that were skipped, cut to 200 bytes unless ``Cursor`` was created
            with ``whole``.
    """

    def __init__(
        self, entries: list[Entry], mark: Mark, damaged: list[bytes] | None = None
    ) -> None:
        self.entries, self.mark = entries, mark
        self.damaged = [] if damaged is None else damaged
