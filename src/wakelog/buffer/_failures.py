"""What the destination of a queue did not take, kept until somebody has been told."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from wakelog.buffer._ticket import said
from wakelog.errors import SinkError

_log = logging.getLogger("wakelog")


class UntoldFailures:
    """Failures of which nobody has heard yet. The queue's lock guards them.

    Args:
        name: The queue's, for messages.
        tells: Whether the next item is refused to tell of them, and the first of several is logged.

    Attributes:
        count: How many failed in all.
        for_the_next: What whoever brings the next item is to hear.
        is_failing: Whether the last batch failed.
    """

    def __init__(self, name: str, *, tells: bool) -> None:
        self._name, self._tells = name, tells
        self.count = 0
        self.for_the_next: BaseException | None = None
        self._for_flush: tuple[int, BaseException] | None = None
        self.is_failing = False

    def note(self, failed: Mapping[int, BaseException]) -> None:
        """Keep what failed, by its place in the batch."""
        if not failed:
            return
        error = failed[max(failed)]
        self.count += len(failed)
        before = self._for_flush[0] if self._for_flush else 0
        self._for_flush = (before + len(failed), error)
        if self._tells:
            self.for_the_next = error

    def raise_for_the_next(self) -> None:
        """Raise, to whoever brings the next item, the last failure since this was asked last."""
        if self.for_the_next is not None:
            failure, self.for_the_next = self.for_the_next, None
            message = (
                f"{self._name}: the worker failed to write an earlier event ({said(failure)}). "
                "It is lost, and this one was not accepted; recording goes on with the next"
            )
            raise SinkError(message) from failure

    def raise_for_flush(self) -> None:
        """Raise how many failed since this was asked last, and why the last one did."""
        failures, self._for_flush = self._for_flush, None
        self.for_the_next = None
        if failures is not None:
            count, error = failures
            message = (
                f"{self._name}: the worker failed to write {count} events, which are lost; the "
                f"last one because: {said(error)}"
            )
            raise SinkError(message) from error

    def report(self, failed: Mapping[int, BaseException]) -> None:
        """Log the first of several failures in a row. Not under the lock."""
        if self._tells and failed and not self.is_failing:
            error = failed[max(failed)]
            _log.error("%s: the destination did not take an event: %s", self._name, said(error))
        self.is_failing = bool(failed)
