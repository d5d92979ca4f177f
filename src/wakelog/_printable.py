"""Makes any text safe to print, so that it can neither control the terminal nor forge a line.

Importing it has everything that Wakelog logs pass through ``printable``.
"""

from __future__ import annotations

import logging
import re
from typing import Final

# Controls (C0, DEL, C1), line and paragraph separators, lone surrogates, and what is invisible or turns
# the direction of writing. Not the two joiners, which scripts and emoji need.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_C0: Final = 0x20
_SURROGATES: Final = 0x10000


def printable(text: str) -> str:
    """Return a text with what a terminal obeys, or hides, as escapes that can be seen.

    It is for texts that are said: in a log line, an exception or a command's output. What is recorded
    or sent stays as it is.

    Args:
        text: Any text, such as a session's id or the answer of a next hop.

    Returns:
        The same text where it is harmless; else with a backslash and the code of each such character.
    """
    return _UNSAFE.sub(_escaped, text)


def printable_json(text: str) -> str:
    """Return JSON with the same meaning in which such characters are JSON's own escapes.

    Args:
        text: JSON; the white space between its values stays.
    """
    # The encoder has escaped C0 in strings, so what is left of it stands between values.
    return _UNSAFE.sub(lambda found: found[0] if ord(found[0]) < _C0 else _json(found[0]), text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _json(character: str) -> str:
    code = ord(character)
    if code < _SURROGATES:
        return f"\\u{code:04x}"
    high, low = divmod(code - _SURROGATES, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


class _SafeToPrint(logging.Filter):
    """Changes records whose text or traceback a terminal would obey, and no others."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - handlers have their own way to say that this fails
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
