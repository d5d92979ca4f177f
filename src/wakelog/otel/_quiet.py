"""Keeps what Wakelog causes while it delivers from becoming new records."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Quiet(threading.local):
    active = False


_quiet = _Quiet()


def is_quiet() -> bool:
    """Tell whether this thread is delivering, or reporting on itself."""
    return _quiet.active


@contextmanager
def quietly() -> Iterator[None]:
    """Record nothing that this thread emits inside the block."""
    before, _quiet.active = _quiet.active, True
    try:
        yield
    finally:
        _quiet.active = before
