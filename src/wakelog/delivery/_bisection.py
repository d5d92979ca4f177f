"""Batch bisection: finds the records of a batch that the next hop refuses permanently.

A refused batch is halved until the record at fault is alone. That record becomes a dead letter only
if the next hop has accepted another record in the meantime, because a server that refuses
everything, for a wrong path or a wrong tenant, gives no information about single records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from wakelog.delivery._destination import ExportOutcome, Outcome

Record = TypeVar("Record")
Record_co = TypeVar("Record_co", covariant=True)

_WORDS = {
    Outcome.REJECTED: "refused",
    Outcome.TOO_LARGE: "too_large",
    Outcome.DELIVERED: "rejected",
}


class Batch(Protocol[Record_co]):
    """A batch of one signal, and the operations on its records that bisection needs."""

    @property
    def records(self) -> Sequence[Record_co]:
        """The records, in order."""
        ...

    def smaller(self, number: int) -> Record_co | None:
        """Return a copy of a record with previews of its large values, or None without any."""
        ...

    def stand_in(self, number: int, outcome: str, reason: str) -> Record_co | None:
        """Return the record that is sent in place of a dead letter, or None for none."""
        ...

    def dead_letter(self, number: int, outcome: str, reason: str) -> None:
        """Write a record as a dead letter, synced to disk."""
        ...

    def acknowledge(self, count: int, dead: int = 0) -> None:
        """Mark the next ``count`` records as finished, ``dead`` of them as dead letters."""
        ...


class BatchBisection(Generic[Record]):
    """Sends a batch to the next hop, and halves it if it is refused.

    Records are finished in order, so that the finished ones are always at the beginning.

    Args:
        attempt: Exports a batch once and returns the outcome.
    """

    def __init__(self, attempt: Callable[[Sequence[Record]], ExportOutcome]) -> None:
        self._attempt = attempt
        self._takes_others = False

    def send(self, batch: Batch[Record]) -> ExportOutcome | None:
        """Send a batch.

        Returns:
            The outcome at which it stopped, or None if every record is finished.

        Raises:
            JournalError: When a dead letter cannot be written.
        """
        self._takes_others = False
        records = batch.records
        parts = [(0, len(records))]
        while parts:
            start, end = parts.pop()
            outcome = self._attempt(records[start:end])
            if outcome.kind is Outcome.RETRYABLE:
                return outcome
            if outcome.kind is Outcome.DELIVERED:
                self._takes_others |= outcome.rejected < end - start
                if not outcome.rejected:
                    batch.acknowledge(end - start)
                    continue
            if end - start > 1:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
                continue
            if outcome.kind is Outcome.TOO_LARGE and (smaller := batch.smaller(start)) is not None:
                answer = self._attempt([smaller])
                if answer.kind is Outcome.RETRYABLE:
                    return answer
                if answer.is_taken:
                    self._takes_others = True
                    batch.acknowledge(1)
                    continue
            if (stopped := self._dead_letter(batch, start, outcome)) is not None:
                return stopped
        return None

    def _dead_letter(
        self, batch: Batch[Record], number: int, outcome: ExportOutcome
    ) -> ExportOutcome | None:
        """Make one record a dead letter, unless the next hop refuses all others too."""
        reason = outcome.reason.encode(errors="replace").decode()
        word, records = _WORDS[outcome.kind], batch.records
        stand_in = batch.stand_in(number, word, reason)
        if stand_in is not None:
            answer = self._attempt([stand_in])
            if answer.kind is Outcome.RETRYABLE:
                return answer
            self._takes_others |= answer.is_taken
        if not self._takes_others:
            # The stand-in itself may be refused, so a neighbouring record is tried too.
            neighbour = records[number + 1 : number + 2] or records[number - 1 : number]
            self._takes_others = bool(neighbour) and self._attempt(neighbour).is_taken
        if not self._takes_others:
            reason = f"the next hop accepts neither this record nor others: {reason}"
            return ExportOutcome(Outcome.RETRYABLE, reason, outcome.retry_after)
        batch.dead_letter(number, word, reason)
        batch.acknowledge(1, 1)
        return None
