"""Ids and time as they stand on a line."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from wakelog.runtime import ForkOrder, notice_fork, reset_in_child

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
# The last nanosecond that RFC 3339 can name: the end of the year 9999.
_LATEST = 253_402_300_800 * _SECOND - 1
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def _seed() -> None:
    """Choose the random part of this process's ids: a fixed field and where the counter begins."""
    global _variant, _count  # noqa: PLW0603 - once a process
    random_ = random.SystemRandom()
    _variant = f"-{0x8000 | random_.getrandbits(14):04x}-"
    _count = itertools.count(random_.getrandbits(47)).__next__


_variant: str
_count: Callable[[], int]
_seed()
# A forked child would otherwise give out the ids that its parent gives out.
reset_in_child(_seed, ForkOrder.IDENTITY)

# A cache of the last second that was formatted: events of one second share its text.
_last_second = (-1, "")
# And the last millisecond of an id.
_last_millisecond = (-1, "")
# And of the last second that was read: how a time in it begins, up to the point, and its nanoseconds.
_parsed_second: tuple[str, int] = ("-", 0)


def uuid8(*parts: str) -> str:
    """Make a UUID of version 8 of texts: the same texts give the same id, in every process.

    Args:
        parts: The texts; where one ends and the next begins makes a difference.

    Returns:
        The canonical text, 36 characters in lower case (RFC 9562, section 5.8: the first bits of a
        SHA-256).
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(encoded), encoded))
    number = int.from_bytes(digest.digest()[:16])
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=number))


def uuid7() -> str:
    """Make a UUID of version 7 for now.

    The twelve bits after the version hold nanoseconds, so that the ids of one process sort by time
    within the millisecond, mostly; the rest is random per process and counts up, so that no two are
    the same whatever the clock does (RFC 9562, section 6.2, methods 1 and 3).

    Returns:
        The canonical text, 36 characters in lower case.
    """
    global _last_millisecond  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    notice_fork()
    milliseconds, rest = divmod(time.time_ns(), _MILLISECOND)
    known, text = _last_millisecond
    if known != milliseconds:
        # Of a clock before 1970 or after 10889, what fits.
        text = f"{milliseconds >> 16 & 0xFFFFFFFF:08x}-{milliseconds & 0xFFFF:04x}-7"
        _last_millisecond = (milliseconds, text)
    # The rest is below 4096, as 1,000,000 is below 2 to the power of 20.
    return "%s%03x%s%012x" % (text, rest >> 8, _variant, _count())  # noqa: UP031 - a third faster than format


def rfc3339(nanoseconds: int) -> str:
    """Write a time as RFC 3339 text in UTC with nine decimals.

    Args:
        nanoseconds: Since 1970-01-01T00:00:00Z.

    Returns:
        The text, or the number's digits where RFC 3339 has no name for it (before 1970, after
        9999), so that a wrong clock costs readability and no event.
    """
    global _last_second  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    if not 0 <= nanoseconds <= _LATEST:
        return str(nanoseconds)
    second, rest = divmod(nanoseconds, _SECOND)
    cached, text = _last_second
    if second != cached:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = (second, text)
    return "%s.%09dZ" % (text, rest)  # noqa: UP031 - see above


def parse_rfc3339(value: str) -> int:
    """Read what ``rfc3339`` wrote, or any other RFC 3339 time.

    Args:
        value: The text.

    Returns:
        Nanoseconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: When the text is no RFC 3339 time.
    """
    global _parsed_second  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    known, base = _parsed_second
    if value[:20] == known and value[29:] == "Z" and (nanoseconds := value[20:29]).isdecimal():
        return base + int(nanoseconds)
    match = _RFC3339.fullmatch(value)
    if match is None and value.removeprefix("-").isdecimal():
        return int(value)
    if match is None:
        message = f"not an RFC 3339 time: {value!r}"
        raise ValueError(message)
    whole, fraction, zone = match.groups()
    moment = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone))
    base = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * _SECOND
    if zone == "Z":
        _parsed_second = (f"{whole}.", base)
    return base + int((fraction or "0").ljust(9, "0"))
