"""Times as users write them: a date, a time, a word, or an age."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DAYS: Final = {"today": 0, "yesterday": 1, "tomorrow": -1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALLOWED: Final = (
    "give a time as 2026-11-28T09:30:00Z, a date as 2026-11-28, today, yesterday, or how long ago, as "
    "30m, 2h, 7d"
)


def moment(text: str) -> int:
    """Return a time that a user gives, in nanoseconds since 1970.

    Dates, days and times without a zone are in the local time zone.

    Raises:
        ValueError: If the text is not a time.
    """
    word = text.strip().lower()
    now = datetime.now().astimezone()
    if (match := _AGO.fullmatch(word)) is not None:
        then = now - timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
        return _nanoseconds(then)
    if word == "now":
        return _nanoseconds(now)
    try:
        if word in _DAYS:
            day = now.date() - timedelta(days=_DAYS[word])
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made local below
        else:
            found = datetime.fromisoformat(text.strip())
        return _nanoseconds(found.astimezone() if found.tzinfo is None else found)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time: {_ALLOWED}") from None


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
