"""``DeliveryResult``: the result of a flush or a shutdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wakelog.journal import Mark, Writer
from wakelog.otel._process_books import RecordTotals, WriterBooks

if TYPE_CHECKING:
    from wakelog.delivery import Delivery


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The delivery state of everything recorded so far. It is true if everything was delivered.

    Attributes:
        complete: Whether the next hop has accepted every record, and the spans that belong to them.
        delivered: How many records of this process the next hop has accepted.
        pending: How many are still to be delivered. They are in the journal, or in memory if there
            is a buffer.
        dead_lettered: How many became dead letters.
        lost: How many were evicted, or damaged on disk.
        reason: Why not everything was delivered; empty if ``complete``.
    """

    complete: bool
    delivered: int = 0
    pending: int = 0
    dead_lettered: int = 0
    lost: int = 0
    reason: str = ""

    def __bool__(self) -> bool:
        """Return whether everything was delivered."""
        return self.complete

    def __str__(self) -> str:
        """Return one line, such as ``12 delivered, 3 pending: connection refused``."""
        counts = [f"{self.delivered} delivered"]
        for name, word in (
            ("pending", "pending"),
            ("dead_lettered", "set aside as dead letters"),
            ("lost", "lost"),
        ):
            if number := getattr(self, name):
                counts.append(f"{number} {word}")
        said = ", ".join(counts)
        return f"{said}: {self.reason}" if self.reason else said

    def __add__(self, other: DeliveryResult) -> DeliveryResult:
        """Add the result for other records; complete if both are."""
        reasons = dict.fromkeys(one for one in (self.reason, other.reason) if one)
        return DeliveryResult(
            self.complete and other.complete,
            self.delivered + other.delivered,
            self.pending + other.pending,
            self.dead_lettered + other.dead_lettered,
            self.lost + other.lost,
            "; ".join(reasons),
        )


NO_SPANS = DeliveryResult(complete=False, reason="spans were not accepted in time")
"""The result if spans were not accepted."""
UNWRITTEN = "records in memory were not written to the journal in time"


def result_of(
    writers: Sequence[Writer], delivery: Delivery | None, *, complete: bool, waiting: int = 0
) -> DeliveryResult:
    """Return the result for everything that this process has recorded.

    Args:
        writers: This process's writers.
        delivery: Their delivery; None if they have none.
        complete: Whether the wait for them was successful.
        waiting: The number of records in memory that are not yet written.
    """
    figures = RecordTotals()
    for writer in writers:
        path = writer.folder.path
        account = WriterBooks(path, (Mark(), ()), writer)
        account.update(delivery.lanes_of(path) if delivery is not None else None)
        figures.add(account.figures)
    pending = figures.pending + waiting
    dead, lost = figures.dead_lettered, figures.corrupt + figures.evicted.total()
    if complete:  # records written during the wait do not count
        reason = ""
    elif delivery is None and writers:
        reason = "there is nowhere to deliver to: records are kept in the journal"
    elif delivery is not None and delivery.reason:
        reason = delivery.reason
    elif waiting:
        reason = UNWRITTEN
    elif pending:
        reason = "not everything was accepted in time"
    elif dead or lost:
        reason = "records were given up" if lost else "records are set aside as dead letters"
    else:
        reason = "the exporter could not be flushed"
    return DeliveryResult(complete, figures.delivered, pending, dead, lost, reason)
