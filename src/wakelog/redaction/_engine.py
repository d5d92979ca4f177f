"""The compiled form of a configuration: how a value is walked through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from math import inf
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from wakelog.errors import RedactionError
from wakelog.redaction._names import KNOWN_NAMES, LONGEST_NAME, Names
from wakelog.redaction._patience import Allowance, passage
from wakelog.redaction._rules import expression
from wakelog.redaction._strategies import ReplacementStrategy

if TYPE_CHECKING:
    import re

    from wakelog.redaction import RedactionConfig

CYCLE_MARKER: Final = "[CYCLE]"
DEPTH_MARKER: Final = "[TOO DEEP]"
MAX_DEPTH: Final = 100
PLAIN: Final = frozenset({int, float, bool, complex, type(None)})
PLAIN_MODULES: Final = frozenset({"datetime", "uuid", "decimal", "fractions", "zoneinfo"})
MANY: Final = 16


class Engine:
    """The compiled form of one configuration."""

    def __init__(self, config: RedactionConfig) -> None:
        from wakelog.redaction._judges import judges  # its expressions are compiled with it

        self.strategy = config.active_strategy
        # What everything becomes, and what it becomes in a URL, if that is always the same.
        self.fixed: tuple[str, str] | None = None
        if type(self.strategy) is ReplacementStrategy:
            new = self.strategy.replacement
            self.fixed = new, quote(new, safe="")
        self.detectors = tuple(config.detectors)
        self.candidates = inf if config.max_candidates is None else config.max_candidates
        names = Names(config.sensitive_field_names)
        self.is_secret = names.has
        found = expression(config, names.compact)
        self.search = found.search
        # Whether a text needs a closer look; with detectors of the caller's own, each does.
        self.suspect: Callable[[str], Any] = (lambda _: True) if self.detectors else self.search
        self.kinds = tuple(found.groupindex)
        every = judges(config, names)
        self.judges = {kind: every[kind] for kind in self.kinds}
        self.keys: dict[str, bool] = {}  # a cache: is this key, whose text is clean, sensitive?

    def value(self, item: Any, above: tuple[int, ...], allowance: Allowance) -> Any:
        """Return the redacted ``item``; ``above`` are the ids of the containers that hold it."""
        kind = type(item)
        if kind is str:
            found = self.suspect(item)
            return item if found is None else self.text(item, allowance, found)
        if kind in PLAIN:
            return item
        if kind is not dict and kind is not list and kind is not tuple:
            return self._other(item, above, allowance)
        if id(item) in above:
            return CYCLE_MARKER
        if len(above) >= MAX_DEPTH:
            return DEPTH_MARKER
        return (self._dict if kind is dict else self._items)(item, (*above, id(item)), allowance)

    def _dict(
        self, item: dict[Any, Any], above: tuple[int, ...], allowance: Allowance
    ) -> dict[Any, Any]:
        keys, suspect, changed = self.keys, self.suspect, None
        for key, child in item.items():
            sensitive = keys.get(key)
            if sensitive is None:
                sensitive, name = self._key(key, allowance)
                if name is not key:
                    return self._rekeyed(item, above, allowance)
            if sensitive:
                new = self._hidden(child)
            else:
                kind = type(child)
                if kind in PLAIN or (kind is str and suspect(child) is None):
                    continue
                new = self.value(child, above, allowance)
            if new is not child:
                if changed is None:
                    changed = item.copy()
                changed[key] = new
        return item if changed is None else changed

    def _key(self, key: Any, allowance: Allowance) -> tuple[bool, Any]:
        """Return whether ``key`` names something sensitive, and what stands for it, or itself."""
        if type(key) in PLAIN:
            return False, key
        name = key if isinstance(key, str) else self._str(key)
        sensitive = self.is_secret(name[-LONGEST_NAME:])
        if self.suspect(name) is not None:
            new = self.text(name, allowance)
            if new != name:
                return sensitive, new
        if type(key) is str and len(key) <= LONGEST_NAME:
            if len(self.keys) >= KNOWN_NAMES:
                self.keys.clear()
            self.keys[key] = sensitive
        return sensitive, key

    def _rekeyed(
        self, item: dict[Any, Any], above: tuple[int, ...], allowance: Allowance
    ) -> dict[Any, Any]:
        """Return ``item`` anew, in order: two keys that become the same text must both stay."""
        result: dict[Any, Any] = {}
        counts: dict[Any, int] = {}
        for key, child in item.items():
            sensitive, taken = self._key(key, allowance)
            name = taken
            while name in result or (name is not key and name in item):
                counts[taken] = counts.get(taken, 1) + 1
                name = f"{taken}#{counts[taken]}"
            result[name] = self._hidden(child) if sensitive else self.value(child, above, allowance)
        return result

    def _items(
        self, items: Sequence[Any], above: tuple[int, ...], allowance: Allowance
    ) -> Sequence[Any]:
        if len(items) > MANY and PLAIN.issuperset(map(type, items)):
            return items  # an embedding
        changed: list[Any] | None = None
        for at, child in enumerate(items):
            new = self.value(child, above, allowance)
            if new is not child:
                if changed is None:
                    changed = list(items)
                changed[at] = new
        if changed is None:
            return items
        return tuple(changed) if isinstance(items, tuple) else changed

    def _other(self, item: Any, above: tuple[int, ...], allowance: Allowance) -> Any:
        if isinstance(item, str):
            plain = str.__str__(item)
            text = self.text(plain, allowance)
            return item if text == plain else text
        if isinstance(item, (int, float, complex)) or type(item).__module__ in PLAIN_MODULES:
            return item
        if isinstance(item, (bytes, bytearray, memoryview)):
            plain = bytes(item).decode("utf-8", "surrogateescape")
            text = self.text(plain, allowance)
            return item if text is plain else text.encode("utf-8", "surrogateescape")
        if id(item) in above or len(above) >= MAX_DEPTH:
            return CYCLE_MARKER if id(item) in above else DEPTH_MARKER
        content = self._content(item)
        new = self.value(content, (*above, id(item)), allowance)
        # A model's dict is new each time; what only wraps its content can stay as it is.
        return item if new is content and isinstance(item, (dict, tuple, Enum, PathLike)) else new

    def _content(self, item: Any) -> Any:
        """Return ``item`` as a dict, list, tuple or string; nothing of ``item`` itself is left."""
        try:
            if isinstance(item, Mapping):
                return dict(item)
            if isinstance(item, (Enum, PathLike)):
                return item.value if isinstance(item, Enum) else fspath(item)
            if is_dataclass(item) and not isinstance(item, type):
                return {field.name: getattr(item, field.name) for field in fields(item)}
            if not isinstance(item, type):
                for name in ("model_dump", "dict", "tolist"):
                    if callable(convert := getattr(item, name, None)):
                        return convert()
            if isinstance(item, tuple):
                return tuple(item)
            if isinstance(item, (Sequence, AbstractSet)) and not isinstance(item, range):
                return list(item)
        except Exception as error:
            raise _failed(f"the conversion of a {type(item).__name__}", error) from error
        return self._str(item)

    @staticmethod
    def _str(item: Any) -> str:
        try:
            return str(item)
        except Exception:  # noqa: BLE001 - a broken __str__ must cost the text and not the event
            return f"<{type(item).__module__}.{type(item).__qualname__} object>"

    def text(self, text: str, allowance: Allowance, found_at: re.Match[str] | None = None) -> str:
        """Return ``text`` with everything found in it replaced; the same object if nothing is.

        ``found_at`` is what ``suspect`` has said of it, if it was asked.
        """
        if self.detectors:
            text, found_at = self._detected(text), None
        if found_at is None:
            found_at = self.search(text)
        pieces: list[str] = []
        done = 0
        left = allowance[0]
        while found_at is not None:
            at = found_at.start()
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
                # The n of an escaped line break belongs to the JSON around the secret.
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
        """Return what the strategy makes of ``value``, in a URL (``quoted``) with its escapes."""
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

    def _hidden(self, child: Any) -> str:
        if self.fixed is not None:
            return self.fixed[0]  # whatever it is, and however long its str() takes
        return self._transformed(self._str(child), "sensitive_field")


def _name(owner: object) -> str:
    category = getattr(owner, "category", None)
    return type(owner).__name__ + (f"({category!r})" if isinstance(category, str) else "")


def _failed(what: str, why: object) -> RedactionError:
    # Only the kind of an exception is named: its message may quote the value itself.
    reason = type(why).__name__ if isinstance(why, Exception) else why
    return RedactionError(
        f"redaction failed in {what}: {reason}. The value was not passed on unredacted; "
        "fix it, or take it out of the RedactionConfig."
    )
