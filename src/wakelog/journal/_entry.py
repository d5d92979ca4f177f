"""What is read of a journal: records with the places after them, one by one or some in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, cast

from wakelog.journal._mark import Mark
from wakelog.record import Record, Resource, UnreadRecord, stated_crc


class Entry(NamedTuple):
    """A record, the resource and the writer that it belongs to, and the place after it."""

    record: Record
    resource: Resource
    writer: str
    mark: Mark


class LaterEntry(Entry):
    """An entry whose mark is made when somebody asks for it: of most, nobody does.

    Its last item is a mark of the same segment before it, of which every figure but these is the same.
    """

    __slots__ = ()

    @property
    def mark(self) -> Mark:
        """The place after the record."""
        record = cast("UnreadRecord", self.record)
        return self[3].after(record.end, record.seq, stated_crc(record.line))


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
