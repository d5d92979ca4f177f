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
    """The recording call waits until delivery has made room."""
    REFUSE = "refuse"
    """The recording call raises ``QuotaExceededError``."""
    EVICT_OLDEST = "evict_oldest"
    """The oldest undelivered segment is deleted, and a tombstone records which records it had."""


@dataclass(frozen=True, slots=True)
class Space:
    """Limits on the disk space of a journal, and on how long it keeps segments.

    Segments without undelivered records are kept for a while and then deleted, oldest first.
    Undelivered records are deleted only under ``QuotaPolicy.EVICT_OLDEST``.

    Attributes:
        retention_age: Time to keep a delivered segment, in seconds from its last record; None for
            no limit.
        retention_bytes: Maximum size of the delivered segments in bytes; None for no limit.
        retention_writers: Maximum number of folders of ended writers with nothing pending; None for
            no limit.
        quota_bytes: Maximum size of the directory in bytes; None for 10 GiB or a tenth of the disk,
            whichever is less.
        quota_policy: What happens to a new event when the quota is full of undelivered ones. None
            for ``REFUSE``, or for ``EVICT_OLDEST`` in a directory from which no process delivers.
        block_timeout: Maximum wait under ``QuotaPolicy.BLOCK``, in seconds, after which the event
            is refused; None for no limit.

    Raises:
        ConfigurationError: For an invalid value, which the message names.
    """

    retention_age: float | None = 7 * _DAY
    retention_bytes: int | None = None
    retention_writers: int | None = 1000
    quota_bytes: int | None = None
    quota_policy: QuotaPolicy | str | None = None
    block_timeout: float | None = None

    def __post_init__(self) -> None:
        """Raise an error for invalid values."""
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
        """``quota_policy`` as a ``QuotaPolicy``; ``REFUSE`` if it is None."""
        return QuotaPolicy.REFUSE if self.quota_policy is None else _policy(self.quota_policy)

    def limit(self, root: Path) -> int:
        """Return the quota in bytes for an existing directory."""
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
