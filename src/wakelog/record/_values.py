"""Values on a line: encoding every Python object, and decoding.

JSON has text, booleans, doubles, integers, lists and maps. Other values have a tagged form, which is
a map with the key ``$wakelog``:

===================================  ==========================================================
bytes                                ``{"$wakelog": "bytes", "value": "<base64>"}``
NaN and the infinities               ``{"$wakelog": "float", "value": "NaN"}``
integers beyond signed 64 bit        ``{"$wakelog": "int", "value": "<decimal>"}``
a map with the key ``$wakelog``      ``{"$wakelog": "map", "value": {...}}``
a value too large for its line       ``{"$wakelog": "blob", "sha256": ..., ...}``, see ``_blobs``
===================================  ==========================================================

Everything else is converted when it is recorded: pydantic models and dataclasses to maps, dates to
ISO 8601, lone surrogates to U+FFFD, and other objects to their text, or to their type's name if
they have no text of their own.
"""

from __future__ import annotations

import base64
import enum
import math
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

from wakelog._native import native
from wakelog.record._objects import LEFT_OUT, left_out, loaded_numbers, nothing_of, opened, text_of
from wakelog.record._texts import encodable
from wakelog.runtime import let_through

TAG = "$wakelog"
# Below orjson's limit (254), so that both paths accept the same depths.
MAX_DEPTH = 200
CYCLE = "[wakelog: cycle]"
TOO_DEEP = f"[wakelog: nested deeper than {MAX_DEPTH} levels]"
MAX_NODES = 250_000
"""Maximum number of values inside one value, which limits the time of encoding it."""
MAX_TEXT = 128 * 1024 * 1024
"""Maximum bytes of text inside one value, in UTF-8. A shared text counts each time."""
MAX_REPEATED = 16 * 1024 * 1024
"""Maximum characters of repeated texts inside one value, which limits the time of encoding it."""
# The text of a value with at most this many items is not counted, because it is in memory anyway.
_MANY = 1_000
# Maximum number of items that the JSON codec gets unchecked, counted in their containers.
_MOST_ITEMS = 4_000_000
# Maximum number of objects whose content is cached, so that a shared object is read once.
_MOST_REMEMBERED = 1_000
NO_STACK = "[wakelog: nested too deeply for the stack that is left]"
# Longer texts are cached, so that a shared text is checked once.
_SHORT = 64
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# Types that the JSON codec decodes unchanged.
_UNCHANGED = frozenset({str, bool, float, type(None)})
# Types that it encodes and decodes unchanged; it raises for integers beyond 64 bit.
_AS_THEY_ARE = frozenset({str, bool, int, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
_TEXT = frozenset({str})
# A container with at most this many items, at this many levels, is copied without counting.
_SMALL_LENGTH, _SMALL_DEPTH = 32, 3
_NOT_SMALL = object()
_copy_small = None if native is None else native.copy_small
# Those of `loaded_numbers` are added when a value is copied that has an unknown type.
_IMMUTABLE: set[type] = (
    {str, bool, int, float, complex, bytes, type(None)}
    | {date, datetime, time, timedelta, UUID}
    | {PosixPath, PurePosixPath, PureWindowsPath}
)


def to_line(value: object) -> object:
    """Return any object in a form that the JSON codec can encode.

    Args:
        value: Any object. It is not changed, and it has a form even if its methods raise.

    Returns:
        The value, made of str, bool, int, float, None, list and dict with str keys. It has at most
        ``MAX_NODES`` values; a note says how many more a container had.
    """
    return _Walk().of(value, 0)


def kept(value: Any) -> Any:
    """Return a copy of a value that later changes of its objects do not affect.

    Args:
        value: Any object.

    Returns:
        New dicts, lists and tuples for containers, within the limits of ``to_line``; values of
        Python's own immutable types unchanged; other objects in the form of ``to_line``.
    """
    try:
        if _copy_small is not None and type(value) is dict:
            copy = _copy_small(value)
            if copy is not None:
                return copy
        if type(value) in _IMMUTABLE:
            return value
        copy = _small_copy(value, _SMALL_DEPTH)
    except Exception as error:  # noqa: BLE001 - a metaclass may raise even when its class is hashed
        let_through(error)
        copy = _NOT_SMALL
    if copy is _NOT_SMALL:
        _IMMUTABLE.update(loaded_numbers())
        return _Copy().of(value, 0)
    return copy


def _small_copy(value: Any, depth: int) -> Any:
    """Copy a container of few plain values, the usual case, without the checks for others."""
    kind = type(value)
    if depth == 0 or kind not in _CONTAINERS or len(value) > _SMALL_LENGTH:
        return _NOT_SMALL
    if kind is dict:
        if not _IMMUTABLE.issuperset(map(type, value)):
            return _NOT_SMALL
        copy = value.copy()  # in one step, as another thread may change it
        pairs: Any = copy.items()
    else:
        copy = list(value)
        pairs = enumerate(copy)
    for key, item in pairs:
        if type(item) not in _IMMUTABLE:
            inner = _small_copy(item, depth - 1)
            if inner is _NOT_SMALL:
                return _NOT_SMALL
            copy[key] = inner
    return tuple(copy) if kind is tuple else copy


def is_json(value: Any, most_text: int | None = None) -> bool:
    """Return whether the JSON codec encodes a value so that decoding returns the same.

    For any other value, it may raise, encode something else (``null`` for NaN), or crash the
    process (an enum whose ``value`` raises).

    Args:
        value: The value.
        most_text: Maximum characters of text in a value of many items; by default ``MAX_REPEATED``,
            because repeated texts are not detected.
    """
    try:
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return True
        if kind is float:
            return math.isfinite(value)
        if kind not in _CONTAINERS:
            return False
        # The usual value has few containers, which are then not nested too deeply either.
        containers, left = [value], _MANY
        for container in containers:
            items = container
            if type(container) is dict:
                if TAG in container or not _TEXT.issuperset(map(type, container)):
                    return False
                items = container.values()
            left -= len(items)
            if left < 0 or len(containers) > MAX_DEPTH:
                return _is_large_json(value, MAX_REPEATED if most_text is None else most_text)
            if not _AS_THEY_ARE.issuperset(map(type, items)):
                for item in items:
                    kind = type(item)
                    if kind in _CONTAINERS:
                        containers.append(item)
                    elif kind not in _AS_THEY_ARE and not (kind is float and math.isfinite(item)):
                        return False
    except Exception as error:  # noqa: BLE001 - a metaclass may raise even when its class is hashed
        let_through(error)
        return False
    return True


def _is_large_json(value: Any, text_left: int) -> bool:
    """Do what ``is_json`` does for a container, within the limits of ``to_line``."""
    level, left, items_left = [value], MAX_NODES, _MOST_ITEMS
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            items = container
            items_left -= len(container)
            if items_left < 0:  # one container may occur many times
                return False
            if type(container) is dict:
                if TAG in container or not _TEXT.issuperset(map(type, container)):
                    return False
                items = container.values()
            if len(items) > _MANY or items_left < _MOST_ITEMS - _MANY:
                text_left -= sum(len(item) for item in items if type(item) is str)
                if text_left < 0:
                    return False
            if _AS_THEY_ARE.issuperset(map(type, items)):
                continue
            for item in items:
                kind = type(item)
                if kind in _AS_THEY_ARE:
                    continue
                if kind in _CONTAINERS:
                    inner.append(item)
                elif kind is not float or not math.isfinite(item):
                    return False
        left -= len(inner)  # one container may occur many times
        if not inner or left < 0:
            return left >= 0
        level = inner
    return False


class _Walk:
    """Encodes one value, which it walks through recursively."""

    __slots__ = ("_above", "_left", "_remembered", "_repeats_left", "_seen", "_text_left", "_texts")

    leaves: AbstractSet[type] = frozenset({str, bool, int, float, bytes, type(None)})

    def __init__(self) -> None:
        self._above: set[int] = set()
        self._left = MAX_NODES
        self._text_left = MAX_TEXT
        self._repeats_left = MAX_REPEATED
        self._seen: set[str | bytes] = set()
        self._remembered: dict[int, tuple[object, object]] = {}
        self._texts: dict[str, tuple[str, int]] = {}

    def of(self, value: Any, depth: int) -> Any:
        """Return the form of a value that is inside ``depth`` containers."""
        kind = type(value)
        try:
            if kind in self.leaves:
                if (kind is str or kind is bytes) and not self._has_room(value):
                    return f"[wakelog: {len(value)} more of {kind.__name__} left out]"
                return self.leaf(value, kind)
        except Exception as error:  # noqa: BLE001 - a metaclass may raise even when its class is hashed
            let_through(error)
            return text_of(value)
        if id(value) in self._above:
            return CYCLE
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        self._above.add(id(value))
        try:
            if kind is dict:
                return self.map(value, depth + 1)
            if kind is list or kind is tuple:
                return self.items(value, kind, depth + 1)
            return self.other(value, kind, depth + 1)
        except RecursionError:
            return NO_STACK
        finally:
            self._above.discard(id(value))

    def _has_room(self, value: str | bytes) -> bool:
        """Count the size of a text or bytes, and return whether it is within the limits."""
        size = len(value)
        self._text_left -= size
        if size > _SHORT:
            if value in self._seen:
                self._repeats_left -= size
                return self._text_left >= 0 and self._repeats_left >= 0
            self._seen.add(value)
        return self._text_left >= 0 or not value

    def leaf(self, value: Any, kind: type) -> object:
        """Return the form of a value that is not a container."""
        if kind is str:
            return value if value.isascii() else self.text(value)
        if kind is bytes:
            return {TAG: "bytes", "value": base64.b64encode(value).decode()}
        if kind is float and not math.isfinite(value):
            name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN is the number that differs from itself
            return {TAG: "float", "value": name}
        if kind is int and not _INT64_MIN <= value <= _INT64_MAX:
            return {TAG: "int", "value": _decimal(value)}
        return value

    def text(self, value: str) -> str:
        """Return a text that UTF-8 can encode, and count its bytes beyond its characters.

        A text that occurs many times is checked once.
        """
        known = self._texts.get(value)
        if known is None:
            text = encodable(value)
            known = text, len(text.encode()) - len(value)
            if len(value) > _SHORT:
                self._texts[value] = known
        self._text_left -= known[1]
        return known[0]

    def map(self, value: dict[object, object], depth: int) -> Any:
        """Return the form of a dict."""
        result: dict[str, object] = {}
        counts: dict[str, int] = {}
        size = len(value)
        room = self._room(size)
        if size and not room:
            return left_out(size)
        for key, item in _first_pairs(value, room):
            name = unique = encodable(key if type(key) is str else _key(key))
            while unique in result:  # 1 and "1" are two keys in Python
                counts[name] = count = counts.get(name, 1) + 1
                unique = f"{name}#{count}"
            result[unique] = self.of(item, depth)
        if room < size:
            result[LEFT_OUT] = left_out(size - room)
        return self.tagged(result)

    def tagged(self, result: dict[Any, Any]) -> dict[Any, Any]:
        """Return a map in a form that cannot be mistaken for a tagged form."""
        return {TAG: "map", "value": result} if TAG in result else result

    def items(self, value: list[Any] | tuple[Any, ...], kind: type, depth: int) -> Any:  # noqa: ARG002 - see _Copy
        """Return the form of a list or a tuple."""
        size = len(value)
        room = self._room(size)
        if size and not room:
            return left_out(size)
        result = [self.of(item, depth) for item in value[:room]]
        if room < size:
            result.append(left_out(size - room))
        return result

    def other(self, value: object, kind: type, depth: int) -> Any:  # noqa: ARG002 - see _Copy
        """Return the form of an object."""
        if self._left <= 0 and (nothing := nothing_of(value)) is not None:
            return nothing
        return self.of(self.held_by(value), depth)

    def held_by(self, value: object) -> object:
        """Return the content of an object, within the limit of values."""
        remembered = self._remembered.get(id(value))
        if remembered is not None:
            return remembered[1]
        held = opened(value, self._left)
        self._left = max(0, self._left - 1)  # reading an object takes as long as a value
        if type(held) in _CONTAINERS and len(self._remembered) < _MOST_REMEMBERED:
            self._remembered[id(value)] = value, held  # a reference, so that its id is not reused
        return held

    def _room(self, count: int) -> int:
        """Count values, and return how many of them are within the limit."""
        room = min(count, self._left)
        self._left -= room
        return room


class _Copy(_Walk):
    """Copies one value, except for immutable objects."""

    __slots__ = ()

    leaves = _IMMUTABLE

    def leaf(self, value: Any, kind: type) -> Any:  # noqa: ARG002 - see _Walk
        return value

    def map(self, value: dict[Any, Any], depth: int) -> Any:
        if len(value) > self._left or not _are_immutable(value):
            return super().map(value, depth)
        copy = value.copy()  # in one step, as another thread may change it
        self._left -= len(copy)
        if not self._are_counted(copy.values()):
            for key, item in copy.items():
                copy[key] = self.of(item, depth)
        return copy

    def tagged(self, result: dict[Any, Any]) -> dict[Any, Any]:
        return result

    def items(self, value: list[Any] | tuple[Any, ...], kind: type, depth: int) -> Any:
        whole = list(value) if len(value) <= self._left else []
        if whole and self._are_counted(whole):
            self._left -= len(whole)
            result: Any = whole
        else:
            result = super().items(value, kind, depth)
        return tuple(result) if kind is tuple and type(result) is list else result

    def _are_counted(self, values: Collection[Any]) -> bool:
        """Return whether values need no copy, and count their text."""
        if not _are_immutable(values):
            return False
        if len(values) > _MANY or self._text_left < MAX_TEXT:
            text = sum(len(one) for one in values if type(one) is str or type(one) is bytes)
            if text > self._text_left:
                return False
            self._text_left -= text
        return True

    def other(self, value: Any, kind: type, depth: int) -> Any:
        if (kind is set or kind is frozenset) and len(value) <= self._left:
            items = list(value)
            if self._are_counted(items):
                self._left -= len(items)
                return frozenset(items)
        if self._left <= 0 and (nothing := nothing_of(value)) is not None:
            return nothing
        held = self.held_by(value)
        if issubclass(kind, enum.Enum) and type(held) in _IMMUTABLE:
            return value
        return self.of(held, depth)


def _first_pairs(value: dict[Any, Any], count: int) -> list[tuple[Any, Any]]:
    """Return the first pairs of a dict, which another thread may be changing."""
    if count < len(value):
        try:
            return list(islice(value.items(), count))
        except RuntimeError:
            pass
    return list(value.items())[:count]


def _are_immutable(values: Iterable[object]) -> bool:
    try:
        return _IMMUTABLE.issuperset(map(type, values))
    except Exception as error:  # noqa: BLE001 - a metaclass may raise even when its class is hashed
        let_through(error)
        return False


def _key(key: object) -> str:
    return str.__str__(key) if issubclass(type(key), str) else text_of(key)


def _decimal(number: int) -> str:
    """Return an integer of any size as text, in hexadecimal beyond the limit of ``str``."""
    return str(number) if number.bit_length() < 10_000 else hex(number)  # noqa: PLR2004


def from_line(value: object) -> object:
    """Return the recorded form of a value that was read from a line.

    Args:
        value: The value, as parsed by the JSON codec.

    Returns:
        The value with its tagged forms decoded. Integers beyond signed 64 bit become decimal text,
        because OTLP has no larger integers.
    """
    if isinstance(value, dict):
        kind = value.get(TAG)
        if kind is None:
            return {key: from_line(item) for key, item in value.items()}
        return _untag(kind, value)
    if isinstance(value, list):
        if _UNCHANGED.issuperset(map(type, value)):
            return value
        return [from_line(item) for item in value]
    if type(value) is int and not _INT64_MIN <= value <= _INT64_MAX:
        return _decimal(value)
    return value


def _untag(kind: object, value: dict[str, object]) -> object:
    inner = value.get("value")
    if kind == "map" and isinstance(inner, dict):
        return {key: from_line(item) for key, item in inner.items()}
    if kind == "bytes" and type(inner) is bytes:  # read from a blob
        return inner
    if isinstance(inner, str):
        if kind == "bytes":
            return base64.b64decode(inner)
        if kind == "float":
            return float(inner)
        if kind == "int":
            return inner
    return value
