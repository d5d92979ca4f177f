"""Failures of a queue's destination, kept until a caller gets them as an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from wakelog.buffer._ticket import said
from wakelog.errors import SinkError

_log = logging.getLogger("wakelog")


class UntoldFailures:
    """Failures that have not been raised yet. The queue's lock guards them.

    Args:
        name: The queue's name, for messages.
        tells: Whether the next ``put`` raises the failure, and the first one in a row is logged.

    Attributes:
        count: The total number of failed items.
        for_the_next: The failure that the next ``put`` raises, or None.
        is_failing: Whether the last batch failed.
    """

    def __init__(self, name: str, *, tells: bool) -> None:
        self._name, self._tells = name, tells
        self.count = 0
        self.for_the_next: BaseException | None = None
        self._for_flush: tuple[int, BaseException] | None = None
        self.is_failing = False

    def note(self, failed: Mapping[int, BaseException]) -> None:
        """Record failures, by index in the batch."""
        if not failed:
            return
        error = failed[max(failed)]
        self.count += len(failed)
        before = self._for_flush[0] if self._for_flush else 0
        self._for_flush = (before + len(failed), error)
        if self._tells:
            self.for_the_next = error

    def raise_for_the_next(self) -> None:
        """Raise the last failure since the last call, to the caller of ``put``."""
        if self.for_the_next is not None:
            failure, self.for_the_next = self.for_the_next, None
            message = (
                f"{self._name}: the worker failed to write an earlier event ({said(failure)}). "
                "It is lost, and this one was not accepted; recording goes on with the next"
            )
            raise SinkError(message) from failure

    def raise_for_flush(self) -> None:
        """Raise an error with the number of failures since the last call and the last cause."""
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
        """Log the first of several failures in a row. The caller does not hold the lock."""
        if self._tells and failed and not self.is_failing:
            error = failed[max(failed)]
            _log.error("%s: the destination did not accept an event: %s", self._name, said(error))
        self.is_failing = bool(failed)
