"""Keeps what Wakelog causes while it delivers from becoming new records."""

from __future__ import annotations

from contextlib import AbstractContextManager

from wakelog.runtime import PerThread

_suppressed = PerThread(default=False)
# Tells whether this thread is delivering, or reporting on itself. Asked for every record.
is_suppressed = _suppressed.get


def suppress_recording() -> AbstractContextManager[None]:
    """Record nothing that this thread emits inside the block."""
    return _suppressed.set(True)
