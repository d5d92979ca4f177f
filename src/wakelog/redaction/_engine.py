"""The compiled form of a configuration, which walks through values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta, tzinfo
from enum import Enum
from math import inf
from os import PathLike
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote
from uuid import UUID

from wakelog._native import native
from wakelog.errors import RedactionError
from wakelog.record import kept, loaded_numbers, opened, text_of
from wakelog.redaction._allowance import Allowance, passage
from wakelog.redaction._forms import NAME_KEYS, VALUE_KEYS, is_flag_value
from wakelog.redaction._names import KNOWN_NAMES, LONGEST_NAME, Names
from wakelog.redaction._rules import WHOLE_FIELDS, expression, visible
from wakelog.redaction._strategies import ReplacementStrategy
from wakelog.runtime import let_through

if TYPE_CHECKING:
    import re

    from wakelog.redaction import RedactionConfig

CYCLE_MARKER: Final = "[CYCLE]"
DEPTH_MARKER: Final = "[TOO DEEP]"
MAX_DEPTH: Final = 100
PLAIN: Final = frozenset({int, float, bool, complex, type(None)})
# Types with only a number, a time or an id; not enums, whose values may be anything.
NUMBERS: Final = (int, float, complex, date, time, timedelta, tzinfo, UUID)
BYTES: Final = (bytes, bytearray, memoryview)
# Types that wrap other values, and are kept if nothing in these is replaced.
WRAPPERS: Final = (dict, tuple, Enum, PathLike)
# Types of keys that can be looked up safely; hashing and comparing others runs their own code.
SAFE_KEYS: Final = PLAIN | {str, bytes}
MANY: Final = 16
LONG: Final = 64
"""Length above which a repeated text of a value is scanned only once."""
_TINY: Final = 10  # the same for texts in lists, which may occur in other lists too
_SEVERAL: Final = 2  # the key is the plural of a sensitive one
_PAIR: Final = 2
_TEXT: Final = frozenset({str})
_FLAT: Final = PLAIN | _TEXT
_VALUE_KEYS: Final = frozenset(VALUE_KEYS)
_FEW, _SHALLOW = 32, 3  # the items and the levels of a dict that is copied at once
_copy_untouched = None if native is None else native.copy_untouched


class Engine:
    """The compiled form of one configuration."""

    def __init__(self, config: RedactionConfig) -> None:
        from wakelog.redaction._judges import judges  # its expressions are compiled with it

        self.strategy = config.active_strategy
        # The replacement, and its form in a URL, if the strategy always returns the same.
        self.fixed: tuple[str, str] | None = None
        if type(self.strategy) is ReplacementStrategy:
            new = self.strategy.replacement
            self.fixed = new, quote(new, safe="")
        self.detectors = tuple(config.detectors)
        self.candidates = inf if config.max_candidates is None else config.max_candidates
        fields = config.sensitive_field_names
        names = Names(fields, WHOLE_FIELDS if "password" in fields else frozenset())
        self.is_secret, self.is_several = names.has, names.has_several
        found = expression(config, names.compact)
        self.search = found.search
        # Whether a text has to be examined; with custom detectors, every text has.
        self.suspect: Callable[[str], Any] = (lambda _: True) if self.detectors else self.search
        self.kinds = tuple(found.groupindex)
        every = judges(config, names)
        self.judges = {kind: every[kind] for kind in self.kinds if kind in every}
        self.keys: dict[str, int] = {}  # a cache: whether a key is sensitive
        # The compiled copy of a dict in which nothing is redacted, for a search without own code.
        self.copy_untouched = None if self.detectors else _copy_untouched

    def value(self, item: Any, above: tuple[int, ...], allowance: Allowance) -> Any:
        """Return the redacted ``item``; ``above`` are the ids of the containers around it."""
        kind = type(item)
        if kind is str:
            found = None if len(item) > LONG else self.suspect(item)
            return (
                item if found is None and len(item) <= LONG else self._once(item, allowance, found)
            )
        if kind in PLAIN:
            return item
        try:
            if kind is not dict and kind is not list and kind is not tuple:
                return self._other(item, above, allowance)
            if id(item) in above:
                return CYCLE_MARKER
            if len(above) >= MAX_DEPTH:
                return DEPTH_MARKER
            within = (*above, id(item))
            return (self.map if kind is dict else self._items)(item, within, allowance)
        except RecursionError:
            return DEPTH_MARKER  # the stack is exhausted

    # Long: the payload of every event takes this path, and each call costs time.
    def copy_of(self, value: Any) -> Any:
        """Return a redacted copy of a value, the same as ``redacted(kept(value))``.

        Few dicts of known names with texts, numbers and lists of them, the usual payload, are copied
        and redacted in one pass.
        """
        if type(value) is not dict or len(value) > _FEW:
            if type(value) is str and len(value) <= LONG and self.suspect(value) is None:
                return value
            return self.redacted(kept(value))
        if self.copy_untouched is not None:
            try:
                copy = self.copy_untouched(
                    value, self.keys, self.suspect, VALUE_KEYS, NAME_KEYS, self.is_secret
                )
            except Exception as error:  # noqa: BLE001 - a search may run a signal's handler
                let_through(error)
                copy = None
            if copy is not None:
                return copy
        keys, suspect = self.keys, self.suspect
        allowance: Allowance = [self.candidates]
        whole = item = value.copy()  # in one step, as another thread may change it
        outer: list[tuple[dict[Any, Any], Any]] = []
        try:
            pairs = iter(item.items())
            while _TEXT.issuperset(map(type, item)):
                for key, child in pairs:
                    if keys.get(key) is not False and not self._is_count(key, child):
                        return self.redacted(kept(value))
                    kind = type(child)
                    if kind is str:
                        found = None
                        if len(child) > LONG or (found := suspect(child)) is not None:
                            item[key] = self._once(child, allowance, found)
                    elif kind is dict and len(child) <= _FEW and len(outer) < _SHALLOW:
                        outer.append((item, pairs))
                        item[key] = item = child.copy()
                        pairs = iter(item.items())
                        break
                    elif kind is list and len(child) <= _FEW:
                        inner = child.copy()
                        if not _FLAT.issuperset(map(type, inner)):
                            return self.redacted(kept(value))
                        item[key] = self._items(inner, (), allowance)
                    elif kind not in PLAIN:
                        return self.redacted(kept(value))
                else:
                    if not _VALUE_KEYS.isdisjoint(item) and self._is_named(item):
                        return self.redacted(kept(value))
                    if not outer:
                        return whole
                    item, pairs = outer.pop()
        except RedactionError:
            raise
        except Exception as error:  # noqa: BLE001 - a metaclass may raise even when its class is hashed
            let_through(error)
        return self.redacted(kept(value))

    def _is_count(self, key: str, child: Any) -> bool:
        """Return whether an item with a known name in the plural is a number, such as ``tokens``."""
        return self.keys.get(key) is _SEVERAL and type(child) in PLAIN

    def redacted(self, value: Any) -> Any:
        """Return the redacted value, see ``wakelog.redaction.redact``."""
        try:
            if type(value) is dict:
                return self.map(value, (id(value),), [self.candidates])
            return self.value(value, (), [self.candidates])
        except RedactionError:
            raise
        except Exception as error:  # noqa: BLE001 - an object has raised; its copy has plain types only
            let_through(error)
            return self.value(kept(value), (), [self.candidates])

    def _once(self, item: str, allowance: Allowance, found: re.Match[str] | None) -> str:
        """Return a redacted text, from a cache if the value has it repeatedly."""
        known: dict[str, str]
        if len(allowance) == 1:
            allowance.append({})
        known = allowance[1]
        new = known.get(item)
        if new is None:
            new = self.text(item, allowance, found)
            known[item] = item if new == item else new
        return new

    def map(
        self, item: dict[Any, Any], above: tuple[int, ...], allowance: Allowance
    ) -> dict[Any, Any]:
        """Return the redacted dict; ``above`` are the ids of its containers and its own."""
        keys, suspect, changed = self.keys, self.suspect, None
        for key, child in list(item.items()):  # a copy, because another thread may change it
            sensitive = keys.get(key) if type(key) is str else None
            if sensitive is None:
                sensitive, name = self._key(key, allowance)
                if name is not key:
                    return self._rekeyed(item, above, allowance)
            if sensitive and (sensitive is not _SEVERAL or not _only_numbers(child)):
                new = self.hidden(child)
            else:
                kind = type(child)
                if kind in PLAIN or (kind is str and len(child) <= LONG and suspect(child) is None):
                    continue
                new = self.value(child, above, allowance)
            if new is not child:
                if changed is None:
                    changed = item.copy()
                changed[key] = new
        for key in VALUE_KEYS:
            if key in item and self._is_named(item) and item[key] not in (None, True, False):
                changed = item.copy() if changed is None else changed
                changed[key] = self.hidden(item[key])
        return item if changed is None else changed

    def _is_named(self, item: dict[Any, Any]) -> bool:
        """Return whether a name field marks the value as secret: ``{"name": "password"}``."""
        names = (item.get(key) for key in NAME_KEYS)
        return any(type(one) is str and self.is_secret(one[-LONGEST_NAME:]) for one in names)

    def _key(self, key: Any, allowance: Allowance) -> tuple[int, Any]:
        """Return whether ``key`` is sensitive, and its redacted form, or the key itself."""
        if type(key) in PLAIN:
            return False, key
        name = key if type(key) is str else text_of(key)
        end = name[-LONGEST_NAME:]
        sensitive: int = self.is_secret(end) or (_SEVERAL if self.is_several(end) else False)
        if self.suspect(name) is not None:
            new = self.text(name, allowance)
            if new != name:
                return sensitive, new
        if type(key) not in SAFE_KEYS and not _is_safe(key):
            return sensitive, name
        if type(key) is str and len(key) <= LONGEST_NAME:
            if len(self.keys) >= KNOWN_NAMES:
                self.keys.clear()
            self.keys[key] = sensitive
        return sensitive, key

    def _rekeyed(
        self, item: dict[Any, Any], above: tuple[int, ...], allowance: Allowance
    ) -> dict[Any, Any]:
        """Return a redacted dict in the same order, with unique texts for its keys."""
        result: dict[Any, Any] = {}
        counts: dict[Any, int] = {}
        for key, child in list(item.items()):
            sensitive, taken = self._key(key, allowance)
            name = taken
            while name in result or (name is not key and name in item):
                counts[taken] = counts.get(taken, 1) + 1
                name = f"{taken}#{counts[taken]}"
            if sensitive and (sensitive is not _SEVERAL or not _only_numbers(child)):
                result[name] = self.hidden(child)
            else:
                result[name] = self.value(child, above, allowance)
        return result

    def _items(
        self, items: Sequence[Any], above: tuple[int, ...], allowance: Allowance
    ) -> Sequence[Any]:
        if len(items) > MANY and PLAIN.issuperset(map(type, items)):
            return items  # an embedding
        changed: list[Any] | None = None
        header = len(items) == _PAIR and self._is_header(*items)
        before: Any = None
        for at, child in enumerate(items):
            flag = type(before) is str and before[:1] == "-" and type(child) is str
            new: Any
            if (at and header) or (flag and self._is_argument(items[0], before, child)):
                new = self.hidden(child)
            elif type(child) is str and len(child) > _TINY:
                new = self._once(child, allowance, None)
            else:
                new = self.value(child, above, allowance)
            before = child
            if new is not child:
                if changed is None:
                    changed = list(items)
                changed[at] = new
        if changed is None:
            return items
        return tuple(changed) if isinstance(items, tuple) else changed

    def _is_argument(self, command: Any, flag: str, argument: str) -> bool:
        """Return whether an argument of a command is a secret, according to the flag before it."""
        if flag in ("-u", "--user"):
            return type(command) is str and command.endswith("curl") and ":" in argument
        if len(flag) >= LONGEST_NAME or " " in flag or not is_flag_value(argument):
            return False
        return self.is_secret(flag)

    def _is_header(self, name: Any, value: Any) -> bool:
        """Return whether two items are a sensitive name and its value."""
        if type(name) is bytes:
            name = name.decode("latin-1")
        if type(name) is not str or len(name) >= LONGEST_NAME or name[:1] == "-":
            return False
        if type(value) is str and self.is_secret(value[-LONGEST_NAME:]):
            return False  # a list of names
        return self.is_secret(name)

    def _other(self, item: Any, above: tuple[int, ...], allowance: Allowance) -> Any:
        kind = type(item)
        if issubclass(kind, (*NUMBERS, *loaded_numbers())) and not issubclass(kind, Enum):
            return item
        if id(item) in above or len(above) >= MAX_DEPTH:
            return CYCLE_MARKER if id(item) in above else DEPTH_MARKER
        content = opened(item)
        if issubclass(kind, BYTES) and type(content) is bytes:
            plain = content.decode("utf-8", "surrogateescape")
            text = self.text(plain, allowance)
            return item if text is plain else text.encode("utf-8", "surrogateescape")
        new = self.value(content, (*above, id(item)), allowance)
        if new is content and (issubclass(kind, WRAPPERS) or issubclass(kind, str)):
            return item
        return new

    def text(self, text: str, allowance: Allowance, found_at: re.Match[str] | None = None) -> str:
        """Return ``text`` with all secrets replaced; the same object if it has none.

        ``found_at`` is the result of ``suspect`` for it, if that was called.
        """
        if self.detectors:
            text, found_at = self._detected(text), None
        if not text.isascii() and (plain := visible(text)) != text:
            # Zero-width characters may hide a secret, so they are removed if that reveals one.
            as_it_is = self._text(text, allowance, found_at)
            as_it_looks = self._text(plain, allowance, None)
            return as_it_is if visible(as_it_is) == as_it_looks else as_it_looks
        return self._text(text, allowance, found_at)

    def _text(self, text: str, allowance: Allowance, found_at: re.Match[str] | None) -> str:
        if found_at is None:
            found_at = self.search(text)
        pieces: list[str] = []
        done = 0
        left = allowance[0]
        while found_at is not None:
            at = found_at.start()
            if found_at.lastgroup == "invisible":
                found_at = self.search(text, at + 1)
                continue
            if left < 1:
                start, end = passage(text, at, done)
                pieces += text[done:start], self._transformed(text[start:end], "passage")
                done = end
                found_at = self.search(text, end) if end < len(text) else None
                continue
            left -= 1
            category = found_at.lastgroup or ""
            span = self.judges[category](category, text, found_at, done)
            resume = at + 1
            if span is not None:
                start, end = max(span[0], done), span[1]
                # The n of an escaped line break belongs to the surrounding JSON.
                start += text[start - 1 : start] == "\\" and text[start] in "nrt"
                resume = max(resume, end)
                if start < end:
                    quoted = category == "signed_url" or text.endswith("://", 0, start)
                    new = self._transformed(text[start:end], category, quoted=quoted)
                    pieces += text[done:start], new
                    done = end
            found_at = self.search(text, resume)
        allowance[0] = left
        return "".join((*pieces, text[done:])) if pieces else text

    def _detected(self, text: str) -> str:
        for detector in self.detectors:
            try:
                found = detector.redact(text, self.strategy)
            except Exception as error:
                raise _failed(f"the detector {_name(detector)}", error) from error
            if not isinstance(found, str):
                raise _failed(f"the detector {_name(detector)}", f"{type(found).__name__} returned")
            text = found
        return text

    def _transformed(self, value: str, category: str, *, quoted: bool = False) -> str:
        """Return the strategy's replacement of ``value``, percent-encoded if ``quoted``."""
        if self.fixed is not None:
            return self.fixed[quoted]
        if quoted:
            value = unquote(value)
        try:
            new = self.strategy.transform(value, category)
        except Exception as error:
            raise _failed(f"the strategy {_name(self.strategy)}, {category},", error) from error
        if not isinstance(new, str):
            raise _failed(f"the strategy {_name(self.strategy)}", f"{type(new).__name__} returned")
        return quote(new, safe="") if quoted else new

    def hidden(self, child: Any) -> str:
        """Return the replacement of a whole value."""
        if self.fixed is not None:
            return self.fixed[0]  # without calling str(), which may take long
        return self._transformed(text_of(child), "sensitive_field")


def _only_numbers(value: object) -> bool:
    """Return whether a value is a count or a list of numbers, such as token ids."""
    kind = type(value)
    return kind in PLAIN or (kind in (list, tuple) and PLAIN.issuperset(map(type, value)))  # type: ignore[call-overload]


def _is_safe(key: object) -> bool:
    """Return whether a key that is not a string can be hashed without running foreign code."""
    return type(key) is tuple and SAFE_KEYS.issuperset(map(type, key))


def _name(owner: object) -> str:
    category = getattr(owner, "category", None)
    return type(owner).__name__ + (f"({category!r})" if isinstance(category, str) else "")


def _failed(what: str, why: object) -> RedactionError:
    # Only the type of the exception is named, because its message may quote the value.
    reason = type(why).__name__ if isinstance(why, Exception) else why
    return RedactionError(
        f"redaction failed in {what}: {reason}. The value was not passed on unredacted; "
        "fix it, or take it out of the RedactionConfig."
    )
