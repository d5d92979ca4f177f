"""Texts that UTF-8 can encode."""

from __future__ import annotations

import json
import re
from functools import cache


@cache
def _surrogates() -> re.Pattern[str]:
    return re.compile("[\ud800-\udfff]+")


@cache
def _pair() -> re.Pattern[str]:
    return re.compile("[\ud800-\udbff][\udc00-\udfff]")


def encodable(value: str) -> str:
    """Return a text with surrogate pairs joined and lone ones replaced, which UTF-8 cannot encode.

    An error handler of the codecs could do this, but takes a microsecond for each.
    """
    if value.isascii() or _surrogates().search(value) is None:
        return value
    if _pair().search(value):
        value = json.loads(json.dumps(value))
    return _surrogates().sub(_replacement, value)


def _replacement(lone: re.Match[str]) -> str:
    return "\ufffd" * (lone.end() - lone.start())
