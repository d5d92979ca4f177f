"""Samples: measurements that are stored until the next metric collection."""

from __future__ import annotations

from collections import deque
from typing import Final

MOST_SAMPLES: Final = 8192
"""Maximum number of samples of a kind between two collections; older ones are dropped."""


def samples() -> deque[float]:
    """Return a deque for measurements, to which adding one takes no lock."""
    return deque(maxlen=MOST_SAMPLES)
