"""What audit sinks have lost, said once a burst for each thread."""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from wakelog.audit._keys import ThreadKey

_log = logging.getLogger("wakelog")

# Within a burst of failures, this often.
_REPORT_SECONDS: Final = 60.0
# So many threads have a warning of their own; the others share one.
_NAMED: Final = 16


class PartialKey(NamedTuple):
    """Whose a record is as far as it says so, where it does not have to."""

    tenant_id: str | None
    thread_id: str | None


def named(key: ThreadKey | PartialKey | None) -> str:
    """Say whose records are meant."""
    if key is None:
        return "no known thread"
    return f"tenant {key.tenant_id!r:.100}, thread {key.thread_id!r:.100}"


class _Burst:
    __slots__ = ("lost", "report_at")

    def __init__(self) -> None:
        self.lost = 0
        self.report_at = 0.0


class Failures:
    """Counts what was lost and says so once a burst. Nothing here may raise.

    Args:
        what: What fails, as the beginning of the warning.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        # By thread; under None is what those have lost that are too many to be named.
        self._bursts: dict[ThreadKey | PartialKey | None, _Burst] = {}

    def failed(self, count: int, why: object, key: ThreadKey | PartialKey | None = None) -> None:
        """Note that records were lost.

        Args:
            count: How many.
            why: Why.
            key: Whose they were, when that is known.
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
        """Note that a record was not lost, which ends a burst of its thread."""
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
            # A thread that has been quiet for a while gives its place up.
            quiet = [k for k, burst in list(bursts.items()) if k and burst.report_at < now]
            if quiet:
                bursts.pop(quiet[0], None)
            else:
                key = None
        return bursts.setdefault(key, _Burst())
