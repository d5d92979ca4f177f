"""Log messages about an outage: one when it begins and one when it has ended."""

from __future__ import annotations

import logging
from pathlib import Path

from wakelog.delivery._circuit import Clock

_log = logging.getLogger("wakelog")


class Outage:
    """Logs when delivery begins to fail, and when it works again.

    Args:
        endpoint: The next hop, in words.
        root: The journal's directory for the message; None to leave it out.
        clock: Returns monotonic time in seconds.
        verb: The verb for the messages.
    """

    def __init__(
        self, endpoint: str, root: Path | None, clock: Clock, *, verb: str = "deliver"
    ) -> None:
        self._endpoint, self._root, self._clock, self._verb = endpoint, root, clock, verb
        self._failures = self._settled = 0
        self._begun = 0.0
        self.reason = ""
        """The reason of the last failed attempt."""

    def failed(self, reason: str) -> None:
        """Record a failed attempt, and log the first one."""
        self._failures += 1
        # Reasons are sentences without a full stop, with the next hop or the exporter as subject.
        self.reason = reason.rstrip(". ") or f"{self._endpoint} gave no reason"
        if self._failures == 1:
            self._begun, self._settled = self._clock(), 0
            named = "" if self._endpoint in self.reason else f" to {self._endpoint}"
            kept = "" if self._root is None else f" in {self._root}"
            _log.warning(
                "cannot %s%s: %s. Events are kept%s and sent when it works again",
                self._verb,
                named,
                self.reason,
                kept,
            )

    def settled(self, count: int) -> None:
        """Record that ``count`` records were delivered."""
        self._settled += count

    def ended(self) -> None:
        """Log the end of the outage, if there was one."""
        if not self._failures:
            return
        _log.warning(
            "%sing to %s again, after %d failed attempt%s in %.0f s%s",
            self._verb,
            self._endpoint,
            self._failures,
            "" if self._failures == 1 else "s",
            self._clock() - self._begun,
            "" if self._root is None else f"; events caught up: {self._settled}",
        )
        self._failures = 0
