"""Rotation: when a file ends and the next one begins."""

from __future__ import annotations

import time

from wakelog.errors import ConfigurationError

_HOUR = 3600.0


class Rotation:
    """When a file that lines are appended to is ended.

    The limits are checked at the next write, not by a timer.

    Attributes:
        max_bytes: Maximum size of a file in bytes; None for no limit.
        max_age: Maximum age of a file in seconds; None for no limit.
        at_midnight: Whether a file ends at midnight, local time.

    Raises:
        ConfigurationError: For a size or age that is not positive.
    """

    def __init__(
        self,
        max_bytes: int | None = None,
        max_age: float | None = None,
        at_midnight: bool = False,  # noqa: FBT001, FBT002 - it is the value
    ) -> None:
        self.max_bytes, self.max_age, self.at_midnight = max_bytes, max_age, at_midnight
        for name, value in (("max_bytes", max_bytes), ("max_age", max_age)):
            if value is not None and not value > 0:
                message = f"{name}={value!r} is not positive: leave it out for no limit"
                raise ConfigurationError(message)

    def ends_at(self, began: float) -> float | None:
        """Return when a file ends, in seconds since 1970, or None without a limit of time.

        Args:
            began: When the file began, in seconds since 1970.
        """
        times = [] if self.max_age is None else [began + self.max_age]
        if self.at_midnight:
            times.append(next_midnight(began))
        return min(times, default=None)


def next_midnight(after: float) -> float:
    """Return when the next day begins in the local time zone, in seconds since 1970.

    Days have 23 or 25 hours when the clocks change, and where they change at midnight the day
    begins at one o'clock, or has two midnights, of which the first is returned.
    """
    today = time.localtime(after)
    midnight = time.mktime((today.tm_year, today.tm_mon, today.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    while not _is_later_day(midnight, today):
        midnight += _HOUR / 2  # midnight does not exist on that day
    while midnight - _HOUR > after and _is_later_day(midnight - _HOUR, today):
        midnight -= _HOUR
    return midnight


def _is_later_day(moment: float, today: time.struct_time) -> bool:
    return time.localtime(moment)[:3] > today[:3]
