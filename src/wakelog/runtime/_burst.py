"""Rate limit for log messages about repeated events."""

from __future__ import annotations

import time


class Burst:
    """Allows a repeated log message at first, and then once a minute."""

    def __init__(self) -> None:
        self._silent_until = float("-inf")

    def is_due(self) -> bool:
        """Return whether to log now. After True, the next minute returns False."""
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + 60.0
        return True
