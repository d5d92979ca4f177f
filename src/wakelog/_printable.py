"""Makes any text safe to print, so that it cannot control the terminal or forge a line.

Importing this module applies ``printable`` to all messages of Wakelog's logger.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Final


@cache
def _unsafe() -> re.Pattern[str]:
    # Control characters (C0, DEL, C1), line and paragraph separators, lone surrogates, invisible
    # characters, and those that change the direction of writing; not the two joiners, which scripts and
    # emoji need.
    return re.compile(
        "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
        "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
    )


_C0: Final = 0x20
_SURROGATES: Final = 0x10000


def printable(text: str) -> str:
    """Return a text with control characters and invisible characters escaped.

    It is used for log messages, exceptions and the output of commands. Recorded and sent data are
    not changed.

    Args:
        text: Any text, such as a session's id or the response of a next hop.

    Returns:
        The same text if it has none of them, else a text with a backslash and the code of each.
    """
    if text.isascii() and text.isprintable():
        return text
    return _unsafe().sub(_escaped, text)


def printable_json(text: str) -> str:
    """Return equivalent JSON in which such characters are JSON escapes.

    Args:
        text: JSON. White space between values is kept.
    """
    # The encoder has escaped C0 in strings, so the remaining ones are between values.
    return _unsafe().sub(lambda found: found[0] if ord(found[0]) < _C0 else _json(found[0]), text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _json(character: str) -> str:
    code = ord(character)
    if code < _SURROGATES:
        return f"\\u{code:04x}"
    high, low = divmod(code - _SURROGATES, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class _SafeToPrint(logging.Filter):
    """Escapes control characters in the messages and tracebacks of log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for every record."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - handlers report this error themselves
            return True
        if (safe := printable(said)) != said:
            record.msg, record.args = safe, None
        if record.exc_info and not record.exc_text:
            traceback = logging.Formatter().formatException(record.exc_info)
            safe = "\n".join(printable(line) for line in traceback.split("\n"))
            if safe != traceback:
                record.exc_text = safe
        return True


logging.getLogger("wakelog").addFilter(_SafeToPrint())
