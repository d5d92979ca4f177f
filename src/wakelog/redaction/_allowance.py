"""The limit of judged candidates in one value, and the passages that are replaced beyond it."""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final

_SHORTEST: Final = 256
_FURTHEST_BACK: Final = 260  # No secret begins farther before its candidate.
_PRIVATE_KEY: Final = re.compile(r"BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_ENDS: Final = "-----END"
_LONGEST_END: Final = 80
# Their values may be on the next line: `token:`, `Bearer`, the id before an AWS secret.
_GOES_ON: Final = re.compile(
    r"(?:[:=][=>]?\s{0,3}|(?i:bearer|basic)\s{0,3}|[A-Z0-9]{16}[\s:,;\"'=]{0,4})\Z"
)
_LONGEST_BEFORE: Final = 24


# The number of candidates of one value that may still be judged, and a cache of its redacted long
# texts. A list, because all strings of the value share it, and a class would cost each event 0.25
# µs.
Allowance = list[Any]


def passage(text: str, at: int, done: int) -> tuple[int, int]:
    """Return the span to replace for an unjudged candidate at ``at``, not before ``done``.

    The span consists of whole lines, except for a long beginning, so that no secret crosses its
    edges: the only secrets of more than one line are those that this function looks for. It has at
    least 256 characters, so that there are few spans.
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
