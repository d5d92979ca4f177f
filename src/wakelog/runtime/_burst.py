"""When a line about something that goes on and on is due."""

from __future__ import annotations

import time


class Burst:
    """Tells when to say something that happens again and again: at first, and then once a minute."""

    def __init__(self) -> None:
        self._silent_until = float("-inf")

    def is_due(self) -> bool:
        """Return whether to say it now; then it is not due again for a minute."""
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + 60.0
        return True
