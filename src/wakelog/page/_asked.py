"""The query language of the search box: words like ``failed`` and ``type:tool_call``, and text."""

from __future__ import annotations

import re
from typing import Any, Final

from wakelog.errors import ConfigurationError
from wakelog.index import Selection, moment

_WORD: Final = re.compile(r'(?:([a-z]+):)?(?:"([^"]*)"|(\S+))')
_FILTERS: Final = ("session", "run", "agent", "type", "tool")
_TIMES: Final = ("since", "until")
_FAILED: Final = frozenset({"failed", "errors"})


def selection_in(query: str) -> Selection:
    """Return the selection that a search describes.

    ``session:``, ``run:``, ``agent:``, ``type:``, ``tool:``, ``since:`` and ``until:`` are like the
    options of the command line, and ``failed`` is like ``--errors``. Everything else is text.
    Quotation marks keep words with spaces together, and turn a special word into text.

    Raises:
        ConfigurationError: If a time is invalid.
    """
    found: dict[str, Any] = {}
    text: list[str] = []
    for match in _WORD.finditer(query):
        key, quoted, plain = match.groups()
        value = quoted if quoted is not None else plain
        if key in _FILTERS and value:
            found[key] = value
        elif key in _TIMES and value:
            try:
                found[key] = moment(value)
            except ValueError as error:
                raise ConfigurationError(str(error)) from None
        elif key is None and quoted is None and plain in _FAILED:
            found["errors"] = True
        else:
            text.append(value if key is None else match[0])
    return Selection(**found, text=" ".join(text) or None)
