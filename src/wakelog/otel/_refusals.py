"""Failures that are counted by reason and logged once in a burst."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from wakelog.delivery import suppress_recording
from wakelog.runtime import Burst, ForkOrder, let_through, reset_in_child

_log = logging.getLogger("wakelog")


class Refusals:
    """Counts failures that are not raised to any caller.

    The first one is logged at once, and then the number at most once a minute.

    Args:
        what: The noun for the failures, in the plural.

    Attributes:
        counts: Numbers of failures by the error's name.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._burst = Burst()

    def note(self, error: BaseException, *, hint: str = "") -> None:
        """Count a failure.

        Args:
            error: The error.
            hint: Advice, if the error has none.
        """
        let_through(error)
        with self._lock:
            self.counts[type(error).__name__] += 1
            if not self._burst.is_due():
                return
            total = self.counts.total()
        with suppress_recording():
            _log.error(
                "%s so far: %d, the last one because: %s: %s%s",
                self._what,
                total,
                type(error).__name__,
                error,
                hint,
            )
