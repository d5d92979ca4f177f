"""What is said about an outage: one line when it begins and one when it has been made up for."""

from __future__ import annotations

import logging
from pathlib import Path

from wakelog.otel._circuit import Clock

_log = logging.getLogger("wakelog")


class Outage:
    """Says when delivery begins to fail, and when everything has been caught up.

    Args:
        endpoint: The next hop, in words.
        root: The journal, where events are kept meanwhile.
        clock: Tells monotonic seconds.
    """

    def __init__(self, endpoint: str, root: Path, clock: Clock) -> None:
        self._endpoint = endpoint
        self._root = root
        self._clock = clock
        self._failures = self._settled = 0
        self._begun = 0.0
        self.reason = ""
        """Why the last attempt that failed did."""

    def failed(self, reason: str) -> None:
        """Learn that an attempt failed, and say so when it is the first."""
        self._failures += 1
        self.reason = reason or "it gave no reason"
        if self._failures == 1:
            self._begun, self._settled = self._clock(), 0
            _log.warning(
                "cannot deliver to %s; events are kept in %s and sent when it works again",
                # The official exporters' verdicts begin with the address.
                self.reason
                if self.reason.startswith(self._endpoint)
                else f"{self._endpoint} ({self.reason})",
                self._root,
            )

    def settled(self, count: int) -> None:
        """Learn that records got through."""
        self._settled += count

    def caught_up(self) -> None:
        """Learn that nothing is pending, and say so when that ends an outage."""
        if not self._failures:
            return
        _log.warning(
            "delivering to %s again, after %d failed attempt%s in %.0f s; events caught up: %d",
            self._endpoint,
            self._failures,
            "" if self._failures == 1 else "s",
            self._clock() - self._begun,
            self._settled,
        )
        self._failures = 0
