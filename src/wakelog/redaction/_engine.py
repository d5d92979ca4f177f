"""The compiled form of a configuration: how a value is walked through."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final

from wakelog.errors import RedactionError
from wakelog.redaction._rules import (
    ASSIGNED,
    FIELD,
    JUDGES,
    KNOWN_NAMES,
    LINE,
    LONGEST_NAME,
    MANY,
    NOT_VALUES,
    NUMBER_BEGINS,
    NUMBER_FRAME,
    NUMBERS,
    PLAIN,
    PLAIN_MODULES,
    PROOF,
    QUERY_SECRETS,
    RULES,
    SECRET_FIELDS,
    SHORTEST,
    WORDS,
    Span,
    extended,
)
from wakelog.redaction._strategies import ReplacementStrategy

if TYPE_CHECKING:
    from wakelog.redaction import RedactionConfig

CYCLE_MARKER: Final = "[CYCLE]"
DEPTH_MARKER: Final = "[TOO DEEP]"
MAX_DEPTH: Final = 100


class Engine:
    """The compiled form of one configuration."""

    def __init__(self, config: RedactionConfig) -> None:
        self.config = config
        self.strategy = config.active_strategy
        self.detectors = tuple(config.detectors)
        self.fields = {"".join(WORDS(name)).lower() for name in config.sensitive_field_names}
        self.search = self._compile(config)
        # Whether a text needs a closer look; with detectors of the caller's own, each does.
        self.suspect = (lambda _: True) if self.detectors else self.search
        self.judges = {**JUDGES, "credential": self._credential, "signed_url": self._signed_url}
        self.keys: dict[str, bool] = {}  # a cache: is this key, whose text is clean, sensitive?
        self.is_secret = lru_cache(KNOWN_NAMES)(self._is_secret)

    def _compile(self, config: RedactionConfig) -> Callable[..., re.Match[str] | None]:
        by_chars: dict[str, list[str]] = {}
        shapes = [f"(?P<{kind}>{shape})" for flag, kind, shape in NUMBERS if getattr(config, flag)]
        if shapes:
            by_chars[NUMBER_BEGINS] = [NUMBER_FRAME % "|".join(shapes)]
        for flag, chars, body in RULES:
            if getattr(config, flag):
                by_chars.setdefault(chars, []).append(body)
        names = [n for n in SECRET_FIELDS if "".join(WORDS(n)) in self.fields]
        if names and (config.redact_api_keys or config.redact_connection_strings):
            ends = "|".join({"".join(f"[{c}{c.upper()}]" for c in name[-3:]) for name in names})
            looks = (rf"(?<=(?:{ends}){then})" for then in (".", r"[\"' ].", r"\\[\"']."))
            by_chars[r"[:=](?<=[A-Za-z\"' ].)"] = [f"(?:{'|'.join(looks)})(?P<credential>)"]
        rules = (f"{chars}(?={'|'.join(bodies)})" for chars, bodies in by_chars.items())
        needed = "".join(chars[1 : chars.index("]")] for chars in by_chars)
        return re.compile(f"[{needed}](?<=(?:{'|'.join(rules)}))" if needed else "(?!)").search

    def value(self, item: Any, above: tuple[int, ...]) -> Any:
        """Return the redacted ``item``; ``above`` are the ids of the containers that hold it."""
        kind = type(item)
        if kind is str:
            return self.text(item) if self.suspect(item) else item
        if kind in PLAIN:
            return item
        if kind is not dict and kind is not list and kind is not tuple:
            return self._other(item, above)
        if id(item) in above:
            return CYCLE_MARKER
        if len(above) >= MAX_DEPTH:
            return DEPTH_MARKER
        return (self._dict if kind is dict else self._items)(item, (*above, id(item)))

    def _dict(self, item: dict[Any, Any], above: tuple[int, ...]) -> dict[Any, Any]:
        keys, suspect, changed = self.keys, self.suspect, None
        for key, child in item.items():
            sensitive = keys.get(key)
            if sensitive is None:
                sensitive = self._key(key)
            if sensitive is False:
                kind = type(child)
                if kind in PLAIN or (kind is str and not suspect(child)):
                    continue
                new = self.value(child, above)
            elif sensitive:
                new = self._hidden(child)
            else:
                return self._rekeyed(item, above)
            if new is not child:
                if changed is None:
                    changed = item.copy()
                changed[key] = new
        return item if changed is None else changed

    def _key(self, key: Any) -> bool | None:
        """Return whether ``key`` names something sensitive; None if its own text must change."""
        if type(key) in PLAIN:
            return False
        name = key if isinstance(key, str) else self._str(key)
        if self.text(name) != name:
            return None
        sensitive = self.is_secret(name[-LONGEST_NAME:])
        if type(key) is str and len(key) <= LONGEST_NAME:
            if len(self.keys) >= KNOWN_NAMES:
                self.keys.clear()
            self.keys[key] = sensitive
        return sensitive

    def _is_secret(self, name: str, whole_names: frozenset[str] = frozenset()) -> bool:
        words = [word.lower() for word in WORDS(name)]
        if len(words) > 1 and words[-1].isdigit() and words[-1][0] != "0":
            words.pop()  # password2
        endings = ["".join(words[at:]) for at in range(len(words))]
        return not self.fields.isdisjoint(endings) or "".join(words) in whole_names

    def _rekeyed(self, item: dict[Any, Any], above: tuple[int, ...]) -> dict[Any, Any]:
        """Return ``item`` anew, in order: two keys that become the same text must both stay."""
        result: dict[Any, Any] = {}
        for key, child in item.items():
            sensitive, name = self._key(key), key
            if sensitive is None:
                text = self._str(key)
                sensitive, name = self.is_secret(text[-LONGEST_NAME:]), self.text(text)
            taken, count = name, 1
            while name in result or (name is not key and name in item):
                count += 1
                name = f"{taken}#{count}"
            result[name] = self._hidden(child) if sensitive else self.value(child, above)
        return result

    def _items(self, items: Sequence[Any], above: tuple[int, ...]) -> Sequence[Any]:
        if len(items) > MANY and PLAIN.issuperset(map(type, items)):
            return items  # an embedding
        changed: list[Any] | None = None
        for at, child in enumerate(items):
            new = self.value(child, above)
            if new is not child:
                if changed is None:
                    changed = list(items)
                changed[at] = new
        if changed is None:
            return items
        return tuple(changed) if isinstance(items, tuple) else changed

    def _other(self, item: Any, above: tuple[int, ...]) -> Any:
        if isinstance(item, str):
            plain = str.__str__(item)
            text = self.text(plain)
            return item if text == plain else text
        if isinstance(item, (int, float, complex)) or type(item).__module__ in PLAIN_MODULES:
            return item
        if isinstance(item, (bytes, bytearray, memoryview)):
            plain = bytes(item).decode("utf-8", "surrogateescape")
            text = self.text(plain)
            return item if text is plain else text.encode("utf-8", "surrogateescape")
        if id(item) in above or len(above) >= MAX_DEPTH:
            return CYCLE_MARKER if id(item) in above else DEPTH_MARKER
        content = self._content(item)
        new = self.value(content, (*above, id(item)))
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

    def text(self, text: str) -> str:
        """Return ``text`` with everything found in it replaced; the same object if nothing is."""
        for detector in self.detectors:
            try:
                found = detector.redact(text, self.strategy)
            except Exception as error:
                raise _failed(f"the detector {_name(detector)}", error) from error
            if not isinstance(found, str):
                raise _failed(f"the detector {_name(detector)}", f"{type(found).__name__} returned")
            text = found
        pieces: list[str] = []
        done = 0
        found_at = self.search(text)
        while found_at is not None:
            category = found_at.lastgroup or ""
            span = self.judges.get(category, extended)(category, text, found_at, done)
            resume = found_at.start() + 1
            if span is not None:
                start, end = max(span[0], done), span[1]
                # The n of an escaped line break belongs to the JSON around the secret.
                start += text[start - 1 : start] == "\\" and text[start] in "nrt"
                resume = max(resume, end)
                if start < end:
                    quoted = category == "signed_url" or text[max(0, start - 3) : start] == "://"
                    new = self._transformed(text[start:end], category, quoted=quoted)
                    pieces += text[done:start], new
                    done = end
            found_at = self.search(text, resume)
        return "".join((*pieces, text[done:])) if pieces else text

    def _transformed(self, value: str, category: str, *, quoted: bool = False) -> str:
        """Return what the strategy makes of ``value``, in a URL (``quoted``) with its escapes."""
        if quoted:
            from urllib.parse import quote, unquote

            value = unquote(value)
        try:
            new = self.strategy.transform(value, category)
        except Exception as error:
            raise _failed(f"the strategy {_name(self.strategy)}, {category},", error) from error
        if not isinstance(new, str):
            raise _failed(f"the strategy {_name(self.strategy)}", f"{type(new).__name__} returned")
        return quote(new, safe="") if quoted else new

    def _hidden(self, child: Any) -> str:
        if type(self.strategy) is ReplacementStrategy:
            return self.strategy.replacement  # whatever it is, and however long its str() takes
        return self._transformed(self._str(child), "sensitive_field")

    def _signed_url(self, kind: str, text: str, m: re.Match[str], done: int) -> Span | None:
        if not self.is_secret(m[kind], QUERY_SECRETS):
            return None
        return m.end(kind) + 1, extended(kind, text, m, done)[1]

    def _credential(self, _: str, text: str, m: re.Match[str], done: int) -> Span | None:
        """Judge ``password=...``, ``"api_key": "..."`` and the like within a text."""
        at = m.start()
        before = text[max(done, at - 48) : at].rstrip(" \\\"'")[::-1]
        name = before[: FIELD(before).end()][::-1]
        is_password = "pass" in name.lower() or "pwd" in name.lower()
        flag = "redact_connection_strings" if is_password else "redact_api_keys"
        if not getattr(self.config, flag) or not self.is_secret(name):
            return None
        found = ASSIGNED(text, at + 1)
        if found is None:
            return None
        value, (start, end) = found["value"], found.span("value")
        if found["open"] is None:
            if value.lower() in NOT_VALUES or text[end : end + 1] in ("(", "["):
                return None  # `password=None`, `token=get_token()`
            if text[at] == "=" and (is_password or not found["space"]):
                likely = is_password or len(value) >= SHORTEST
            else:
                likely = len(value) >= SHORTEST and PROOF(value) is not None
            if not likely:
                return None
            if name.lower().endswith("cookie") and (line := LINE(text, end)):
                end = line.end()
        return start, end


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
