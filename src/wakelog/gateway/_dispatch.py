"""Forwarding each event or setting it aside, or leaving it for later."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from wakelog.delivery import ExportOutcome, ExportRound, Outcome
from wakelog.errors import CorruptLineError, JournalError
from wakelog.gateway import _ledger as ledger
from wakelog.gateway._attempts import REJECTED, DeliveryAttempts
from wakelog.gateway._books import RunBooks
from wakelog.gateway._dead_letters import DeadLetters, FoundLetter, letter_of, line_of
from wakelog.gateway._downstream import Downstream
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._lanes import SessionLane
from wakelog.gateway._ledger import Item
from wakelog.gateway._settings import Settings
from wakelog.runtime import Burst

_log = logging.getLogger("wakelog")


class _DeadLetterReports:
    """Logs dead letters: the first of a burst at once, then the number of others once a minute."""

    def __init__(self) -> None:
        self._more = 0
        self._last = ("", "")
        self._burst = Burst()

    def note(self, session: str, reason: str) -> None:
        """Count a dead letter, and log it if a message is due."""
        self._more += 1
        self._last = session, reason
        if self._burst.is_due():
            self.say()

    def say(self) -> None:
        """Log the dead letters that no message has reported yet."""
        more, self._more = self._more, 0
        if more == 1:
            _log.error("an event of session %s is set aside as a dead letter: %s", *self._last)
        elif more:
            _log.error(
                "%d more events are set aside as dead letters, the last one of session %s: %s",
                more,
                *self._last,
            )


class Dispatch:
    """Forwards or sets aside one event after the other, and counts the outcomes.

    Args:
        downstream: The callback and the transport.
        settings: The settings.
        letters: The store of dead letters.

    Attributes:
        fates: What became of the events so far, see ``RunBooks``.
    """

    def __init__(self, downstream: Downstream, settings: Settings, letters: DeadLetters) -> None:
        self.fates: Counter[str] = Counter()
        self._downstream, self._letters = downstream, letters
        self._attempts = DeliveryAttempts(downstream, settings)
        self._reports = _DeadLetterReports()

    async def send(self, sending: ExportRound[Item]) -> None:
        """Forward a lane's events or set them aside, up to one that has to be sent later."""
        lane: SessionLane = sending.lane
        for item in sending.entries:
            if item.event is None:  # a damaged line, or one that is not to be forwarded
                sending.acknowledge()
                continue
            lane.oldest = item.event.wakelog.timestamp
            dead = await self._forward(lane, item, item.event, lane.books)
            if dead is None:
                sending.stop(ExportOutcome(Outcome.RETRYABLE))
                return
            sending.acknowledge(1, dead)

    async def _forward(
        self, lane: SessionLane, item: Item, event: ForwardedEvent, books: RunBooks
    ) -> int | None:
        """Forward an event or set it aside; return how many were set aside, or None to retry."""
        if lane.letters is None:
            lane.letters = self._letters.ids(lane.folder) if lane.old and lane.folder else set()
        if event.wakelog.id in lane.letters:  # set aside by a process that then died
            self.count(books, "dead_lettered")
            return 1
        trial = lane.trial_of(event, is_next=True)
        is_decided = trial.is_taken or trial.dead_letter is not None
        if not is_decided and not await self._attempts.send(lane, event, trial):
            lane.failed(trial)
            return None
        if trial.is_taken:
            self.count(books, "forwarded")
            return 0
        assert trial.dead_letter is not None  # noqa: S101 - judge() has set it
        outcome, reason = trial.dead_letter
        letter = letter_of(
            event, item.line or line_of(event), lane.writer, item.mark.offset, outcome, reason
        )
        try:
            await asyncio.to_thread(self._letters.add, lane.folder, letter)
        except (OSError, JournalError) as error:
            _log.warning("an event cannot be set aside, and is tried again: %s", error)
            return None
        session = event.wakelog.session_id
        self._reports.note(session, reason)
        self.count(books, "rejected" if outcome == REJECTED else "dead_lettered")
        return 1

    def say_rest(self) -> None:
        """Log the dead letters that no message has reported yet, when the forwarder closes."""
        self._reports.say()

    def count(self, books: RunBooks, fate: str, events: int = 1) -> None:
        """Count what became of events, here and in the books of their run."""
        self.fates[fate] += events
        books.fates[fate] += events

    async def replay(self, found: FoundLetter) -> str | None:
        """Send a dead letter once; return why it was not accepted, or None if it was.

        Raises:
            JournalError: If its acceptance cannot be noted.
        """
        try:
            event = ledger.event_of(found.letter.line.encode())
        except CorruptLineError as error:
            return str(error)
        if event is None:
            return "its line does not say that it is to be forwarded"
        refused = await self._downstream.send_once(event)
        if refused is None:
            await asyncio.to_thread(self._letters.note_replayed, found)
        return None if refused is None else str(refused)
