"""Which records of a batch the next hop takes, and which it never will.

A batch that is refused is halved until the guilty record stands alone. It is called guilty only when
the next hop has taken another one meanwhile: a server that refuses everything, at a wrong path or for
a wrong tenant, says nothing about any record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from wakelog.delivery._outcome import ExportOutcome, Outcome

Record = TypeVar("Record")
Record_co = TypeVar("Record_co", covariant=True)

_WORDS = {
    Outcome.REJECTED: "refused",
    Outcome.TOO_LARGE: "too_large",
    Outcome.DELIVERED: "rejected",
}


class Batch(Protocol[Record_co]):
    """A batch as its signal knows it: what else can be made of its records."""

    @property
    def records(self) -> Sequence[Record_co]:
        """The records, in order."""
        ...

    def smaller(self, number: int) -> Record_co | None:
        """Return a copy of a record with previews of its large values, None where nothing is large."""
        ...

    def stand_in(self, number: int, outcome: str, reason: str) -> Record_co | None:
        """Return what says downstream that a record is missing, and why; None for nothing."""
        ...

    def dead_letter(self, number: int, outcome: str, reason: str) -> None:
        """Set a record aside, on the disk when it returns."""
        ...

    def acknowledge(self, count: int, dead: int = 0) -> None:
        """Note that the next records have been delivered, or set aside."""
        ...


class BatchBisection(Generic[Record]):
    """Brings a batch to the next hop, down to single records where it has to.

    Records are dealt with in their order, so that those that have been are always the first ones.

    Args:
        attempt: Exports a batch, once, and says what came of it.
    """

    def __init__(self, attempt: Callable[[Sequence[Record]], ExportOutcome]) -> None:
        self._attempt = attempt
        self._takes_others = False

    def send(self, batch: Batch[Record]) -> ExportOutcome | None:
        """Send a batch.

        Returns:
            The outcome at which it stopped, or None when every record has been dealt with.

        Raises:
            JournalError: When a guilty record could not be set aside.
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
        """Set one record aside, unless the next hop takes no others either."""
        reason = outcome.reason.encode(errors="replace").decode()
        word, records = _WORDS[outcome.kind], batch.records
        stand_in = batch.stand_in(number, word, reason)
        if stand_in is not None:
            answer = self._attempt([stand_in])
            if answer.kind is Outcome.RETRYABLE:
                return answer
            self._takes_others |= answer.is_taken
        if not self._takes_others:
            # It may be the stand-in that is not liked, so a neighbour is asked too.
            neighbour = records[number + 1 : number + 2] or records[number - 1 : number]
            self._takes_others = bool(neighbour) and self._attempt(neighbour).is_taken
        if not self._takes_others:
            reason = f"the next hop takes neither this record nor others: {reason}"
            return ExportOutcome(Outcome.RETRYABLE, reason, outcome.retry_after)
        batch.dead_letter(number, word, reason)
        batch.acknowledge(1, 1)
        return None
