"""Ids and times, in the form that lines have them."""

from __future__ import annotations

import itertools
import random
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from wakelog._native import native
from wakelog.runtime import ForkOrder, notice_fork, noticed, reset_in_child

if TYPE_CHECKING:
    from hashlib import _Hash

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
# The last nanosecond of RFC 3339: the end of the year 9999.
_LATEST = 253_402_300_800 * _SECOND - 1


@cache
def _rfc3339_form() -> re.Pattern[str]:
    return re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def _seed() -> None:
    """Choose the random part of this process's ids: a fixed field and the counter's start."""
    global _variant, _count  # noqa: PLW0603 - once a process
    random_ = random.SystemRandom()
    _variant = f"-{0x8000 | random_.getrandbits(14):04x}-"
    _count = itertools.count(random_.getrandbits(47)).__next__


_variant: str
_count: Callable[[], int]
_seed()
# A forked child would otherwise create the same ids as its parent.
reset_in_child(_seed, ForkOrder.IDENTITY)
if native is not None:
    reset_in_child(native.forget, ForkOrder.IDENTITY)

# A cache of the last second that was formatted: events of one second share its text.
_last_second = (-1, "")
# A cache of the last millisecond of an id: its beginning in nanoseconds, and its text.
_last_millisecond = (-1 << 80, "")
# A cache of the last second that was parsed: its text up to the point, and its nanoseconds.
_parsed_second: tuple[str, int] = ("-", 0)


def sha256(data: bytes = b"") -> _Hash:
    """Return ``hashlib.sha256(data)``.

    The first call loads OpenSSL, which takes 3 ms unless an exporter has loaded it. What may
    compute digests while it records makes this call before, because an import during an event may
    coincide with a fork.
    """
    from hashlib import sha256 as new

    return new(data)


def uuid8(*parts: str) -> str:
    """Return a UUID of version 8 for texts, the same in every process.

    Args:
        parts: The texts. Their boundaries matter too.

    Returns:
        The canonical text, 36 characters in lower case (RFC 9562, section 5.8: the first bits of a
        SHA-256).
    """
    digest = sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%b" % (len(encoded), encoded))
    number = int.from_bytes(digest.digest()[:16])
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=number))


def _uuid7() -> str:
    """Return a new UUID of version 7.

    The twelve bits after the version are nanoseconds, so that ids of one process usually sort by
    time within a millisecond. The rest is a counter with a random start for each process, so that
    ids are unique even if the clock is set back (RFC 9562, section 6.2, methods 1 and 3).

    Returns:
        The canonical text, 36 characters in lower case.
    """
    global _last_millisecond  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    if not noticed[0]:
        notice_fork()
    now = time.time_ns()
    begin, text = _last_millisecond
    rest = now - begin
    if not 0 <= rest < _MILLISECOND:
        milliseconds, rest = divmod(now, _MILLISECOND)
        # Of a clock before 1970 or after 10889, what fits.
        text = f"{milliseconds >> 16 & 0xFFFFFFFF:08x}-{milliseconds & 0xFFFF:04x}-7"
        _last_millisecond = (now - rest, text)
    # The rest is below 4096, as 1,000,000 is below 2 to the power of 20.
    return "%s%03x%s%012x" % (text, rest >> 8, _variant, _count())  # noqa: UP031 - a third faster than format


uuid7: Callable[[], str] = _uuid7 if native is None else native.new_id
"""Returns a new UUID of version 7, see ``_uuid7``."""


def rfc3339(nanoseconds: int) -> str:
    """Return a time as RFC 3339 text in UTC with nine decimals.

    Args:
        nanoseconds: Nanoseconds since 1970-01-01T00:00:00Z.

    Returns:
        The text, or the number's digits if it is before 1970 or after 9999, so that a wrong clock
        does not cause an error.
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
    """Parse a time of ``rfc3339``, or any other RFC 3339 time.

    Args:
        value: The text.

    Returns:
        Nanoseconds since 1970-01-01T00:00:00Z.

    Raises:
        ValueError: When the text is not an RFC 3339 time.
    """
    global _parsed_second  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    known, base = _parsed_second
    if value[:20] == known and value[29:] == "Z" and (nanoseconds := value[20:29]).isdecimal():
        return base + int(nanoseconds)
    match = _rfc3339_form().fullmatch(value)
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
