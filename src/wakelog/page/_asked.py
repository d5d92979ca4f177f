"""What somebody types into the search box: words such as ``failed`` and ``type:tool_call``, and a text."""

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
    """Return which events a search asks for.

    ``session:``, ``run:``, ``agent:``, ``type:``, ``tool:``, ``since:`` and ``until:`` mean what the
    options of the command line do, and ``failed`` is ``--errors``. Everything else is a text. Quotes keep
    words with spaces together, and make a text of one that would mean something.

    Raises:
        ConfigurationError: For a time that is none.
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
