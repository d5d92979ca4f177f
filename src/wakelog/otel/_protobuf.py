"""The part of protobuf's wire format that OTLP uses: values, attributes, resources and scopes.

Source: the protocol buffers' encoding guide, and ``opentelemetry/proto/common/v1/common.proto``. A
field is a tag, which is its number times eight plus its wire type, and the value; tags are given as
bytes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any, Final

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.record import to_line

LEVELS: Final = 30
"""The maximum nesting of containers; deeper ones are written as JSON text. Receivers stop at 100
nested messages, of which a map takes three, and the official encoder silently omits deeper ones."""
FLAT: Final = tuple(bytes((number,)) for number in range(128))
"""The encoded numbers below 128, which are most lengths."""

_SMALL, _TWO_BYTES = len(FLAT), len(FLAT) ** 2
_DOUBLE = Struct("<d").pack
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_UINT64 = 2**64
# Limits of the cache: length of texts, values per type and key, number of keys, length of keys.
_LONGEST_KEPT, _MOST_VALUES, _MOST_KEYS, _LONGEST_NAME = 64, 64, 512, 256


def varint(number: int) -> bytes:
    """Encode a number from 0 to 2**64 - 1."""
    if number < _SMALL:
        return FLAT[number]
    if number < _TWO_BYTES:
        return bytes((number & 0x7F | 0x80, number >> 7))
    written = bytearray()
    while number >= _SMALL:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def sized(message: bytes) -> bytes:
    """Encode a message, a text or bytes with a length prefix."""
    return varint(len(message)) + message


def field(tag: bytes, message: bytes) -> bytes:
    """Encode a field that is a message, a text or bytes."""
    return b"".join((tag, varint(len(message)), message))


def text_field(tag: bytes, text: str | None) -> bytes:
    """Encode a text field, as nothing if the text is empty."""
    return field(tag, text.encode()) if text else b""


def any_value(value: Any, levels: int = LEVELS) -> bytes:
    """Encode the content of an ``AnyValue``.

    Args:
        value: A value as decoded from a line; lists and tuples are the same.
        levels: The number of nested containers to encode as such.

    Raises:
        TypeError: If the value is of any other type.
        UnicodeEncodeError: If a text has lone surrogates.
    """
    kind = type(value)
    if kind is str:
        return field(b"\x0a", value.encode())
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        if not _INT64_MIN <= value <= _INT64_MAX:
            return field(b"\x0a", str(value).encode())
        return b"\x18" + varint(value if value >= 0 else value + _UINT64)
    if kind is float:
        return b"\x21" + _DOUBLE(value)
    if value is None:
        return b""
    if kind is bytes:
        return field(b"\x3a", value)
    if kind is not dict and kind is not list and kind is not tuple:
        message = f"no value of OTLP: {kind.__qualname__}"
        raise TypeError(message)
    if not levels:
        return field(b"\x0a", orjson.dumps(to_line(value)))
    if kind is dict:
        items: Iterable[bytes] = (key_value(key, item, levels - 1) for key, item in value.items())
        tag = b"\x32"
    else:
        items = (any_value(item, levels - 1) for item in value)
        tag = b"\x2a"
    return field(tag, b"".join([field(b"\x0a", item) for item in items]))


def key_value(key: str, value: Any, levels: int = LEVELS) -> bytes:
    """Encode the content of a ``KeyValue``."""
    return field(b"\x0a", key.encode()) + field(b"\x12", any_value(value, levels))


class _Key:
    """The encoded name of an attribute, with a cache of whole attributes by value.

    Each type has a table of its own, because ``True == 1``.
    """

    __slots__ = ("flags", "numbers", "start", "texts")

    def __init__(self, name: str) -> None:
        self.start = field(b"\x0a", name.encode()) + b"\x12"
        self.texts: dict[str, bytes] = {}
        self.numbers: dict[int, bytes] = {}
        self.flags: dict[bool, bytes] = {}

    def sized(self, value: Any) -> bytes:
        """Encode an attribute with a length prefix."""
        content = any_value(value)
        return sized(b"".join((self.start, varint(len(content)), content)))


class Attributes:
    """Encodes attributes, with caches of names and of short texts and numbers, which mostly repeat.

    The caches are bounded: 64 texts of at most 64 characters, and 64 numbers, for each of 512
    names. A full table is emptied before the next insertion; values that repeat are soon in it
    again.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def sized(self, attributes: Mapping[str, Any]) -> list[bytes]:
        """Encode each attribute as a ``KeyValue`` with a length prefix.

        Args:
            attributes: Values by name, as for ``any_value``.

        Returns:
            The encoded attributes without a field's tag, so that they fit every message.

        Raises:
            TypeError: As ``any_value``.
            UnicodeEncodeError: As ``any_value``.
        """
        keys = self._keys
        written: list[bytes] = []
        for name, value in attributes.items():
            key = keys.get(name)
            if key is None:
                key = self._add(name)
            kind = type(value)
            if kind is str:
                texts = key.texts
                known = texts.get(value)
                if known is None:
                    known = _sized_text(key.start, value)
                    if len(value) <= _LONGEST_KEPT:
                        if len(texts) >= _MOST_VALUES:
                            texts.clear()
                        texts[value] = known
            elif kind is int or kind is bool:
                values: dict[Any, bytes] = key.numbers if kind is int else key.flags
                known = values.get(value)
                if known is None:
                    if len(values) >= _MOST_VALUES:
                        values.clear()
                    values[value] = known = key.sized(value)
            else:
                known = key.sized(value)
            written.append(known)
        return written

    def _add(self, name: str) -> _Key:
        key = _Key(name)
        if len(name) <= _LONGEST_NAME:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            self._keys[name] = key
        return key


def _sized_text(start: bytes, text: str) -> bytes:
    """Return a ``KeyValue`` of a text, with a length prefix."""
    data = text.encode()
    size = len(data)
    if size + len(start) < _SMALL - 4:
        return b"".join((FLAT[len(start) + size + 3], start, FLAT[size + 2], b"\x0a", FLAT[size], data))  # fmt: skip
    content = field(b"\x0a", data)
    return sized(b"".join((start, varint(len(content)), content)))


def resource_message(
    attributes: Attributes,
    resource: Resource,
    scopes: Mapping[InstrumentationScope | None, list[bytes]],
) -> bytes:
    """Encode the records or spans of one resource.

    ``ResourceLogs`` and ``ResourceSpans`` have the same field numbers, and so have ``ScopeLogs``
    and ``ScopeSpans``.

    Args:
        attributes: The encoder of attributes.
        resource: The resource.
        scopes: Encoded records or spans by scope, each one a field with its tag.

    Returns:
        The content of a ``ResourceLogs`` or ``ResourceSpans``.

    Raises:
        TypeError: If an attribute cannot be encoded here.
        ValueError: If a text has lone surrogates.
    """
    parts = [field(b"\x0a", _all(b"\x0a", attributes, resource.attributes))]
    for scope, recorded in scopes.items():
        parts.append(field(b"\x12", _scope_message(attributes, scope, recorded)))
    parts.append(text_field(b"\x1a", resource.schema_url))
    return b"".join(parts)


def _scope_message(
    attributes: Attributes, scope: InstrumentationScope | None, recorded: list[bytes]
) -> bytes:
    if scope is None:
        return b"".join((field(b"\x0a", b""), *recorded))
    name = text_field(b"\x0a", scope.name) + text_field(b"\x12", scope.version)
    content = name + _all(b"\x1a", attributes, scope.attributes)
    return b"".join((field(b"\x0a", content), *recorded, text_field(b"\x1a", scope.schema_url)))


def _all(tag: bytes, attributes: Attributes, given: Mapping[str, Any] | None) -> bytes:
    return b"".join([tag + one for one in attributes.sized(given or {})])
