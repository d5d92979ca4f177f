"""How much one value may cost, and what goes when it has cost that much."""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final

_SHORTEST: Final = 256
_FURTHEST_BACK: Final = 260  # No secret begins so far before the place where it is noticed.
_PRIVATE_KEY: Final = re.compile(r"BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_ENDS: Final = "-----END"
_LONGEST_END: Final = 80
# The value of these may stand on the next line: `token:`, `Bearer`, the id before an AWS secret.
_GOES_ON: Final = re.compile(
    r"(?:[:=][=>]?\s{0,3}|(?i:bearer|basic)\s{0,3}|[A-Z0-9]{16}[\s:,;\"'=]{0,4})\Z"
)
_LONGEST_BEFORE: Final = 24


# How many candidates of one value may still be judged, and what long texts in it have become: in a list
# because all of its strings share it. A class would cost each event a quarter of a microsecond.
Allowance = list[Any]


def passage(text: str, at: int, done: int) -> tuple[int, int]:
    """Return the span that goes, unjudged, with the candidate at ``at``; before ``done`` all is done.

    It is made of whole lines, but for a long beginning, and no secret lies across its edges: none
    of those that a judge may find goes over the end of a line, except for those that are looked
    for here. Each goes on for at least 256 characters, so that there are few.
    """
    start = max(done, text.rfind("\n", done, at) + 1, at - _FURTHEST_BACK)
    end = at
    while True:
        seen, end = end, text.find("\n", end + _SHORTEST)
        if end < 0:
            return start, len(text)
        key = deque(_PRIVATE_KEY.finditer(text, seen, end), 1)
        if key:
            closed = text.find(_KEY_ENDS, key[0].end())
            if closed < 0:
                return start, len(text)
            if closed > end - _LONGEST_END:
                end = closed
                continue
        if _GOES_ON.search(text, end - _LONGEST_BEFORE, end) is None:
            return start, end
