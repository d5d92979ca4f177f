"""Judging: whether it is an event that is refused, or everything.

An outage refuses every event, so an event is set aside only while another one is taken, and after it has
failed as often as the settings say. Which other one is tried right after it, where its session has one:
so what is forwarded of a session stays in order, and an outage of one session's destination sets nothing
aside.
"""

from __future__ import annotations

import enum
from typing import Final

from wakelog.errors import SerializationError, TransportTimeoutError
from wakelog.gateway._downstream import Downstream, Refusal, Trial
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._lanes import SessionLane
from wakelog.gateway._sending import Forwarding

REFUSED: Final = "refused"
"""An event failed again and again while others were taken."""
REJECTED: Final = "rejected"
"""The transport says that it will never take the event."""

_MOST_AHEAD = 16


class _Ahead(enum.Enum):
    TAKEN = enum.auto()
    REFUSED = enum.auto()
    NOTHING = enum.auto()


class Judge:
    """Sends events, and says which are never taken.

    Args:
        downstream: Where to.
        settings: How often an event may fail.
    """

    def __init__(self, downstream: Downstream, settings: Forwarding) -> None:
        self._downstream = downstream
        self._most_probes = settings.max_probes
        self._most_retries = settings.max_retries

    async def judge(self, lane: SessionLane, event: ForwardedEvent, trial: Trial) -> bool:
        """Send the next event of a lane, or learn that it is to be set aside.

        Returns:
            Whether its trial says what is to be done with it. Else it is to be tried again later.
        """
        refusal = await self._downstream.deliver(event, trial)
        if refusal is None:
            trial.is_taken = True
            return True
        if refusal.is_final:
            trial.verdict = REJECTED, str(refusal.error)
            return True
        decided = False
        try:
            decided = await self._is_to_blame(lane, trial, refusal)
        finally:
            if decided:
                self._downstream.give_back(refusal.places)
            else:
                self._downstream.give_up(refusal.places, refusal.error)
        return decided

    async def _is_to_blame(self, lane: SessionLane, trial: Trial, refusal: Refusal) -> bool:
        if self._most_probes is None or not self._downstream.has_failed(
            trial, 1 + self._most_retries + self._most_probes
        ):
            return False
        ahead = _Ahead.NOTHING
        # A place that hangs may have come back meanwhile, and the order would be lost.
        if not refusal.timed_out:
            ahead = await self._pass_over(lane, trial, refusal)
        if ahead is _Ahead.NOTHING and refusal.others_got_through:
            trial.verdict = REFUSED, str(refusal.error)
        return trial.verdict is not None or trial.is_taken

    async def _pass_over(self, lane: SessionLane, trial: Trial, refusal: Refusal) -> _Ahead:
        """Try what comes after an event that has failed often enough.

        When one is taken, all before it are tried once more, and set aside where that fails, too.
        """
        assert self._most_probes is not None  # noqa: S101 - asked before
        items = lane.ahead(_MOST_AHEAD)
        passed = [(trial, items[0].event)]
        for event in [item.event for item in items[1:] if item.event is not None]:
            other = lane.trial_of(event, is_next=False)
            if other.verdict is not None:
                continue
            error = await self._downstream.try_now(event, other, refusal)
            if error is None:
                other.is_taken = True
                for one, before in passed:
                    await self._try_again(before, one, refusal)
                return _Ahead.TAKEN
            if isinstance(error, SerializationError):
                other.verdict = REJECTED, str(error)
                continue
            if other.most_failures == 1:
                lane.slot.failures = 0
                self._downstream.begin_again()
            hangs = isinstance(error, TransportTimeoutError)
            if hangs or not self._downstream.has_failed(other, 1 + self._most_probes):
                return _Ahead.REFUSED
            passed.append((other, event))
        return _Ahead.NOTHING if len(items) < _MOST_AHEAD else _Ahead.REFUSED

    async def _try_again(
        self, event: ForwardedEvent | None, trial: Trial, refusal: Refusal
    ) -> None:
        """Try an event once more when one after it was taken: an outage may have ended in between.

        It comes late then, and is not lost.
        """
        error: Exception | None = refusal.error
        if event is not None:
            error = await self._downstream.try_now(event, trial, refusal)
        if error is None:
            trial.is_taken = True
        else:
            trial.verdict = REFUSED, str(error)
