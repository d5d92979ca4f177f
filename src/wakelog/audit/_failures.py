"""Reports of records that audit sinks have lost, once per burst for each thread."""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from wakelog.audit._keys import ThreadKey

_log = logging.getLogger("wakelog")

# The interval of reports during a burst of failures.
_REPORT_SECONDS: Final = 60.0
# How many threads get reports of their own; the others share one.
_NAMED: Final = 16


class PartialKey(NamedTuple):
    """The tenant and thread of a record, which may be unknown."""

    tenant_id: str | None
    thread_id: str | None


def named(key: ThreadKey | PartialKey | None) -> str:
    """Return a tenant and a thread as text for messages."""
    if key is None:
        return "no known thread"
    return f"tenant {key.tenant_id!r:.100}, thread {key.thread_id!r:.100}"


class _Burst:
    __slots__ = ("lost", "report_at")

    def __init__(self) -> None:
        self.lost = 0
        self.report_at = 0.0


class Failures:
    """Counts lost records, and logs them once per burst. No method raises.

    Args:
        what: The beginning of the warning, which says what fails.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # By thread; None has the records of threads without an entry of their own.
        self._bursts: dict[ThreadKey | PartialKey | None, _Burst] = {}

    def failed(self, count: int, why: object, key: ThreadKey | PartialKey | None = None) -> None:
        """Count lost records.

        Args:
            count: How many.
            why: The reason.
            key: Their thread, if known.
        """
        now = time.monotonic()
        burst = self._burst(key, now)
        burst.lost += count
        if now < burst.report_at:
            return
        burst.report_at = now + _REPORT_SECONDS
        _log.warning(
            "%s: %d records lost so far, the last of %s: %s",
            self._what,
            burst.lost,
            named(key),
            why,
            extra={"tenant_id": key.tenant_id, "thread_id": key.thread_id} if key else None,
        )

    def worked(self, key: ThreadKey | PartialKey | None = None) -> None:
        """Note that a record was accepted, which ends a burst of its thread."""
        if not self._bursts:
            return
        burst = self._bursts.pop(key if key in self._bursts else None, None)
        if burst is not None:
            _log.warning(
                "%s: it works again, after %d lost records, now of %s",
                self._what,
                burst.lost,
                named(key),
            )

    def _burst(self, key: ThreadKey | PartialKey | None, now: float) -> _Burst:
        bursts = self._bursts
        if key not in bursts and len(bursts) >= _NAMED:
            # Replace a thread that has had no failures for a while.
            quiet = [k for k, burst in list(bursts.items()) if k and burst.report_at < now]
            if quiet:
                bursts.pop(quiet[0], None)
            else:
                key = None
        return bursts.setdefault(key, _Burst())
