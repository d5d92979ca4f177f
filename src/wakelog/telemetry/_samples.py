"""Measurements that wait for the next collection."""

from __future__ import annotations

from collections import deque
from typing import Final

MOST_SAMPLES: Final = 8192
"""Between two collections, the newest so many measurements of a kind are kept."""


def samples() -> deque[float]:
    """Return a place for measurements: adding one takes no lock."""
    return deque(maxlen=MOST_SAMPLES)
