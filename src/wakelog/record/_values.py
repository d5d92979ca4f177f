"""Values on a line: a form for every Python object, and the way back.

JSON holds text, booleans, doubles, integers, lists and maps. What it lacks has a tagged form, a
map with the key ``$wakelog``:

===================================  ==========================================================
bytes                                ``{"$wakelog": "bytes", "value": "<base64>"}``
NaN and the infinities               ``{"$wakelog": "float", "value": "NaN"}``
integers beyond signed 64 bit        ``{"$wakelog": "int", "value": "<decimal>"}``
a map with the key ``$wakelog``      ``{"$wakelog": "map", "value": {...}}``
===================================  ==========================================================

Everything else is coerced once, when it is recorded: pydantic models and dataclasses to maps,
dates to ISO 8601, lone surrogates to U+FFFD, other objects to their text, or to their type's name
when they have no text of their own.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from os import PathLike, fspath
from uuid import UUID

TAG = "$wakelog"
# Below what orjson refuses (254), so that both paths take the same depths.
MAX_DEPTH = 200
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_SHORTEST_CUT = 64
# What the JSON codec reads as it went in.
_UNCHANGED = frozenset({str, bool, float, type(None)})


def to_line(value: object) -> object:
    """Turn any object into what the JSON codec writes without complaint.

    Args:
        value: Anything.

    Returns:
        The same value in terms of str, bool, int, float, None, list and dict with str keys.
    """
    return _to_line(value, 0, set())


def _to_line(value: object, depth: int, above: set[int]) -> object:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        number = int(value)
        if _INT64_MIN <= number <= _INT64_MAX:
            return number
        return {TAG: "int", "value": _decimal(number)}
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN is the number that differs from itself
        return {TAG: "float", "value": name}
    if isinstance(value, bytes | bytearray | memoryview):
        return {TAG: "bytes", "value": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, PathLike):
        return _to_line(fspath(value), depth, above)
    if id(value) in above:
        return "[wakelog: cycle]"
    if depth >= MAX_DEPTH:
        return f"[wakelog: nested deeper than {MAX_DEPTH} levels]"
    above.add(id(value))
    try:
        return _container(value, depth + 1, above)
    finally:
        above.discard(id(value))


def _container(value: object, depth: int, above: set[int]) -> object:
    if isinstance(value, list | tuple):
        return [_to_line(item, depth, above) for item in value]
    if isinstance(value, Mapping):
        return _map(value, depth, above)
    if isinstance(value, AbstractSet):
        return [_to_line(item, depth, above) for item in sorted(value, key=_shown)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return _map({f.name: getattr(value, f.name, None) for f in fields}, depth, above)
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        try:
            return _to_line(dump(), depth, above)
        except Exception:  # noqa: BLE001 - a model that cannot dump itself still has a text
            return _shown(value)
    return _shown(value)


def _map(value: Mapping[object, object], depth: int, above: set[int]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items():
        name = _text(key) if isinstance(key, str) else _shown(key)
        unique, count = name, 1
        while unique in result:  # 1 and "1" are two keys in Python
            count += 1
            unique = f"{name}#{count}"
        result[unique] = _to_line(item, depth, above)
    return {TAG: "map", "value": result} if TAG in result else result


def _text(value: str) -> str:
    """Join surrogate pairs and replace lone ones, which no UTF-8 encoder takes."""
    if value.isascii():
        return str(value)
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decimal(number: int) -> str:
    """Write an integer of any size; ``str`` refuses beyond 4,300 digits, hexadecimal does not."""
    return str(number) if number.bit_length() < 10_000 else hex(number)  # noqa: PLR2004


def _shown(value: object) -> str:
    """Return the text of an object, or its type's name when it has none that can be had."""
    kind = type(value)
    own = kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__
    name = f"<{kind.__module__}.{kind.__qualname__} object>"
    if not own:
        return name
    try:
        return _text(str(value))
    except Exception:  # noqa: BLE001 - a broken __str__ must cost the text and not the event
        return name


def from_line(value: object) -> object:
    """Give a value read from a line the form in which it went in.

    Args:
        value: What the JSON codec read.

    Returns:
        The value with its tagged forms resolved. Integers beyond signed 64 bit become decimal
        text, because neither OTLP nor any backend has an integer that holds them.
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
    if isinstance(inner, str):
        if kind == "bytes":
            return base64.b64decode(inner)
        if kind == "float":
            return float(inner)
        if kind == "int":
            return inner
    return value


def cut(value: object, longest: int) -> object:
    """Shorten every text in a value of ``to_line``.

    Args:
        value: What ``to_line`` returned.
        longest: The number of characters that each text may keep.

    Returns:
        A copy; the value itself is not changed.
    """
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest]
    if isinstance(value, list):
        return [cut(item, longest) for item in value]
    if isinstance(value, dict):
        return {key: cut(item, longest) for key, item in value.items()}
    return value
