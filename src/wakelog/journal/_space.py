"""Limits on the disk space of a journal, and on how long it keeps segments."""

from __future__ import annotations

import enum
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from wakelog.errors import ConfigurationError

_DAY = 86_400.0
LARGEST_DEFAULT_QUOTA = 10 * 1024**3


class QuotaPolicy(enum.StrEnum):
    """The policy for a new event when the quota is full of undelivered events."""

    BLOCK = "block"
    """Its emit waits until delivery has made room."""
    REFUSE = "refuse"
    """Its emit raises ``QuotaExceededError``."""
    EVICT_OLDEST = "evict_oldest"
    """The oldest undelivered segment is deleted, and a tombstone says what was in it."""


@dataclass(frozen=True, slots=True)
class Space:
    """How much of the disk a journal may take, and for how long.

    Segments whose records have all been dealt with are kept for a while and then deleted, oldest
    first. Undelivered ones are deleted by nothing but ``QuotaPolicy.EVICT_OLDEST``.

    Attributes:
        retention_age: Seconds for which a segment is kept after its last record, once delivered;
            None for ever.
        retention_bytes: The most bytes of delivered segments that are kept; None for any number.
        retention_writers: The most folders of writers that are gone and have nothing pending; None
            for any number.
        quota_bytes: The most bytes that the directory may hold; None for 10 GiB or a tenth of the
            disk, whichever is less.
        quota_policy: What happens at the quota when only undelivered records are left. None for
            ``REFUSE``, and for ``EVICT_OLDEST`` in a directory from which nobody delivers.
        block_timeout: The longest wait under ``QuotaPolicy.BLOCK``, in seconds, after which the
            event is refused; None for no end.

    Raises:
        ConfigurationError: For a value that cannot be used; it says which.
    """

    retention_age: float | None = 7 * _DAY
    retention_bytes: int | None = None
    retention_writers: int | None = 1000
    quota_bytes: int | None = None
    quota_policy: QuotaPolicy | str | None = None
    block_timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name == "quota_policy":
                _policy(value)
            elif (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value <= sys.float_info.max
            ):
                message = f"{field.name}={value!r} is not known: use a number from 0 on"
                raise ConfigurationError(message)
        if self.quota_bytes == 0:
            message = "quota_bytes=0 leaves no room for any event: leave it out for the default"
            raise ConfigurationError(message)

    @property
    def policy(self) -> QuotaPolicy:
        """``quota_policy``, whether it was given as such or as text; ``REFUSE`` without it."""
        return QuotaPolicy.REFUSE if self.quota_policy is None else _policy(self.quota_policy)

    def limit(self, root: Path) -> int:
        """Return the quota in bytes for a directory, which has to exist."""
        if self.quota_bytes is not None:
            return int(self.quota_bytes)
        disk = os.statvfs(root)
        return min(LARGEST_DEFAULT_QUOTA, disk.f_frsize * disk.f_blocks // 10)


def _policy(value: str) -> QuotaPolicy:
    try:
        return QuotaPolicy(value)
    except ValueError:
        message = f"quota_policy={value!r} is not known: use one of {', '.join(QuotaPolicy)}"
        raise ConfigurationError(message) from None
