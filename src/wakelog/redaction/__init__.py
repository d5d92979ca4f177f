"""Redaction: replaces sensitive data before anything is written.

Every string is scanned once, with one regular expression for each configuration. Each kind of
secret contains a certain character (``@``, a digit, ``=``). The expression skips to the next such
character and matches a bounded number of characters there: a *candidate*. A *judge* then decides
about the candidate, and only an accepted one is read to its end. An ordinary string thus costs one
scan, and a hostile one costs time linear in its length. The number of judged candidates in a value
is limited; beyond it, whole passages around candidates are replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.errors import RedactionError

if TYPE_CHECKING:
    from wakelog.redaction._config import RedactionConfig, redact
    from wakelog.redaction._config import hidden as hidden
    from wakelog.redaction._config import prepare as prepare
    from wakelog.redaction._engine import CYCLE_MARKER, DEPTH_MARKER, MAX_DEPTH
    from wakelog.redaction._strategies import (
        HashStrategy,
        RedactionDetector,
        RedactionStrategy,
        RegexDetector,
        ReplacementStrategy,
        TokenizationStrategy,
    )

__all__ = [
    "CYCLE_MARKER",
    "DEPTH_MARKER",
    "MAX_DEPTH",
    "HashStrategy",
    "RedactionConfig",
    "RedactionDetector",
    "RedactionError",
    "RedactionStrategy",
    "RegexDetector",
    "ReplacementStrategy",
    "TokenizationStrategy",
    "redact",
]

__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.redaction._config": ["RedactionConfig", "hidden", "prepare", "redact"],
        "wakelog.redaction._engine": ["CYCLE_MARKER", "DEPTH_MARKER", "MAX_DEPTH"],
        "wakelog.redaction._strategies": [
            "HashStrategy",
            "RedactionDetector",
            "RedactionStrategy",
            "RegexDetector",
            "ReplacementStrategy",
            "TokenizationStrategy",
        ],
    },
)
