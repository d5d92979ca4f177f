"""What is read of a journal: records with the places after them, one by one or some in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from wakelog.journal._mark import Mark
from wakelog.record import Record, Resource, UnreadRecord, stated_crc, unread_in_order


class Entry(NamedTuple):
    """A record, the resource and the writer that it belongs to, and the place after it."""

    record: Record
    resource: Resource
    writer: str
    mark: Mark


class LaterEntry(Entry):
    """An entry whose record and mark are made when somebody asks for them: of most, nobody does.

    Its items are the line, the resource, the writer, a mark of the same segment before it, its number, and
    where the next line begins. So there is one object a record that the garbage collector looks at.
    """

    __slots__ = ()

    @classmethod
    def of(
        cls, line: bytes, resource: Resource, writer: str, before: Mark, seq: int, end: int
    ) -> LaterEntry:
        """Make one of a line that is a whole record."""
        return _new_entry(cls, (line, resource, writer, before, seq, end))

    @property
    def line(self) -> bytes:
        """The line, without its newline."""
        return self[0]  # type: ignore[return-value] # see above

    @property
    def seq(self) -> int:
        """Its number."""
        return self[4]  # type: ignore[misc, no-any-return]

    @property
    def record(self) -> UnreadRecord:
        """The record."""
        return unread_in_order(self.line, self.seq)

    @property
    def mark(self) -> Mark:
        """The place after the record."""
        return self[3].after(self[5], self.seq, stated_crc(self.line))  # type: ignore[misc]


_new_entry = tuple.__new__


@dataclass(slots=True)
class EntryBatch:
    """Some records in order.

    Attributes:
        entries: The records.
        mark: The place after the last line whose records are counted. Damaged lines are counted by the
            number of the next record; until there is one, by what they look like if the writer is gone.
        damaged: The damaged lines that were passed over, cut to their first 200 bytes unless the
            cursor was asked for whole ones.
    """

    entries: list[Entry]
    mark: Mark
    damaged: list[bytes] = field(default_factory=list)
