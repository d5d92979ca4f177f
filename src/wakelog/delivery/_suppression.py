"""Suppression: log messages that delivery causes do not become new records."""

from __future__ import annotations

from contextlib import AbstractContextManager

from wakelog.runtime import PerThread

_suppressed = PerThread(default=False)
# Returns whether this thread is delivering or exporting its own metrics.
is_suppressed = _suppressed.get
# The threads for which this may be so: looked up for every record, to save the call.
suppressing = _suppressed.values


def suppress_recording() -> AbstractContextManager[None]:
    """Record nothing that this thread emits inside the block."""
    return _suppressed.set(True)
