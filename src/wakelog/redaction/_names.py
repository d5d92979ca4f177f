"""Sensitive names, and the comparison with them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

KNOWN_NAMES: Final = 4096
LONGEST_NAME: Final = 64

# Many names of counts end in "tokens". With one of these words before it, the name is not a count.
_HOLD_TOKENS: Final = frozenset(
    ["access", "api", "auth", "bearer", "csrf", "id", "refresh", "secret", "session", "user"]
)

words_of: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+").findall
_NO_WORDS: Final = "".join(c for c in map(chr, range(128)) if not c.isalnum())
_NO_LETTERS: Final = "".join(c for c in map(chr, range(128)) if not c.isalpha())


def compact(name: str) -> str:
    """Return the form of a name for comparison: ``apikey`` for ``API-Key``."""
    return "".join(words_of(name)).lower()


class Names:
    """A set of sensitive names: a name is sensitive if it, or its last words, are in ``names``."""

    def __init__(self, names: Iterable[str], whole: frozenset[str] = frozenset()) -> None:
        self.compact = frozenset(map(compact, names))
        self._whole = whole  # in compact form; sensitive only as a whole name
        every = self.compact | whole
        self._longest = max(map(len, every), default=0)
        ends = {name[-2:] for name in every}
        simple = all(len(end) == 2 and end.isalpha() and end.isascii() for end in ends)  # noqa: PLR2004 - letters
        self._ends = ends if simple else None
        self.known = lru_cache(KNOWN_NAMES)(self.has)

    def has(self, name: str) -> bool:
        """Return whether ``name`` is sensitive: ``user_password``, ``apiKey2``. ``known`` caches it."""
        if self._ends is not None:
            end = name.rstrip(_NO_LETTERS)[-2:]
            if end.isalpha() and end.isascii() and end.lower() not in self._ends:
                return False  # the usual case
        return self.has_words_of(name)

    def has_several(self, name: str) -> bool:
        """Return whether ``name`` is the plural of a sensitive name, such as ``api_keys``."""
        if name.rstrip(_NO_WORDS)[-1:] not in ("s", "S"):
            return False  # the usual case
        words = words_of(name)
        words[-1] = words[-1][:-1]
        if words[-1].lower() == "token" and words[:-1]:
            return words[-2].lower() in _HOLD_TOKENS and self.has_words_of("token")
        return bool(words[-1]) and self.has_words_of(" ".join(words))

    def has_words_of(self, name: str) -> bool:
        """Return the same as ``has``, without its fast path."""
        words = words_of(name)
        if len(words) > 1 and words[-1].isdigit() and words[-1][0] != "0":
            words.pop()  # password2
        ending = ""
        for word in reversed(words):
            ending = word.lower() + ending
            if ending in self.compact:
                return True
            if len(ending) > self._longest:
                return False
        return ending in self._whole
