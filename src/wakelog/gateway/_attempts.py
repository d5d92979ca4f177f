"""Deciding whether one event is refused, or every event.

An outage refuses every event. An event is therefore set aside only if it has failed as often as the
settings allow and another event is accepted. If its session has a later event, that one is tried
next, so that a session's forwarded events stay in order, and an outage of only this session's
destination sets nothing aside.
"""

from __future__ import annotations

from typing import Final

from wakelog.errors import SerializationError, TransportTimeoutError
from wakelog.gateway._downstream import Downstream, Refusal, Trial
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._lanes import SessionLane
from wakelog.gateway._settings import Settings

REFUSED: Final = "refused"
"""The event failed repeatedly while others were accepted."""
REJECTED: Final = "rejected"
"""The transport declared the event unacceptable."""

_MOST_AHEAD = 16


class DeliveryAttempts:
    """Sends events, and decides which to set aside.

    Args:
        downstream: The callback and the transport.
        settings: The settings, with how often an event may fail.
    """

    def __init__(self, downstream: Downstream, settings: Settings) -> None:
        self._downstream = downstream
        self._most_probes = settings.max_probe_attempts
        self._most_retries = settings.max_retry_attempts

    async def send(self, lane: SessionLane, event: ForwardedEvent, trial: Trial) -> bool:
        """Send the next event of a lane, or decide to set it aside.

        Returns:
            Whether its trial has the outcome. If not, the event is to be sent again later.
        """
        refusal = await self._downstream.deliver(event, trial)
        if refusal is None:
            trial.is_taken = True
            return True
        if refusal.is_final:
            trial.dead_letter = REJECTED, str(refusal.error)
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
        # A target that hangs may have recovered meanwhile; trying a later event would break the
        # order.
        hangs = isinstance(refusal.error, TransportTimeoutError)
        is_last = hangs or await self._pass_over(lane, trial, refusal)
        if is_last and refusal.others_got_through:
            trial.dead_letter = REFUSED, str(refusal.error)
        return trial.dead_letter is not None or trial.is_taken

    async def _pass_over(self, lane: SessionLane, trial: Trial, refusal: Refusal) -> bool:
        """Try the events after one that has failed often enough.

        If one is accepted, all events before it are tried once more, and set aside if that fails,
        too.

        Returns:
            Whether its session has no event after it that proves anything.
        """
        assert self._most_probes is not None  # noqa: S101 - the caller has checked it
        items = lane.ahead(_MOST_AHEAD)
        passed = [(trial, items[0].event)]
        for event in [item.event for item in items[1:] if item.event is not None]:
            other = lane.trial_of(event, is_next=False)
            if other.dead_letter is not None:
                continue
            error = await self._downstream.try_now(event, other, refusal)
            if error is None:
                other.is_taken = True
                for one, before in passed:
                    await self._try_again(before, one, refusal)
                return False
            if isinstance(error, SerializationError):
                other.dead_letter = REJECTED, str(error)
                continue
            if other.most_failures == 1:
                lane.slot.failures = 0
                self._downstream.begin_again()
            hangs = isinstance(error, TransportTimeoutError)
            if hangs or not self._downstream.has_failed(other, 1 + self._most_probes):
                return False
            passed.append((other, event))
        return len(items) < _MOST_AHEAD

    async def _try_again(
        self, event: ForwardedEvent | None, trial: Trial, refusal: Refusal
    ) -> None:
        """Try an event again after a later one was accepted, because an outage may have just ended.

        The event is then out of order, but not lost.
        """
        error: Exception | None = refusal.error
        if event is not None:
            error = await self._downstream.try_now(event, trial, refusal)
        if error is None:
            trial.is_taken = True
        else:
            trial.dead_letter = REFUSED, str(error)
