"""Checks the types of arguments of public constructors."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, cast

from wakelog.errors import ConfigurationError


class With:
    """The kind of objects whose type has a given method.

    Args:
        method: The method's name. Classes that have it do not match, only their instances.
        example: An object that has it, in words.
    """

    def __init__(self, method: str, example: str) -> None:
        self.method, self.example = method, example


class Of:
    """The kind of objects of a class whose module is loaded only if an object has to be checked.

    Args:
        package: The package that has the class.
        name: The name of the class.
    """

    def __init__(self, package: str, name: str) -> None:
        self.package, self.name = package, name


Kind = type | With | Of | None

PATH: Final = (str, os.PathLike)
TEXT: Final = (str, None)
FLAG: Final = (bool, None)
COUNT: Final = (int, None)
NUMBER: Final = (int, float, None)
MAPPING: Final = (Mapping, None)
FUNCTION: Final = (cast("type", Callable), None)
BUFFER: Final = (Of("wakelog.buffer", "Buffer"), None)
REDACTION: Final = (Of("wakelog.redaction", "RedactionConfig"), None)
SEALING: Final = (Of("wakelog.evidence", "Sealing"), None)

_WORDS: Final[dict[type, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    os.PathLike: "a path",
    Mapping: "a dict",
    cast("type", Callable): "a function",
}


MAX_EVENT_BYTES: Final = "WAKELOG_MAX_EVENT_BYTES"
_MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
_LONGEST_WAIT: Final = 365.0 * 24 * 3600


def max_event_bytes_of(given: int | None) -> int:
    """Return the maximum size of an event in bytes; of a larger one only a stub is recorded.

    Args:
        given: The size in bytes; by default ``WAKELOG_MAX_EVENT_BYTES``, else 64 MiB.

    Raises:
        ConfigurationError: When it is not a whole number above 0.
    """
    text = os.environ.get(MAX_EVENT_BYTES, "").strip() if given is None else str(given)
    if not text:
        return _MAX_EVENT_BYTES
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        said = MAX_EVENT_BYTES if given is None else "max_event_bytes"
        message = f"{said}={text!r} cannot be used: give a whole number above 0, in bytes"
        raise ConfigurationError(message)
    return int(text)


def check(**arguments: tuple[object, *tuple[Kind, ...]]) -> None:
    """Raise an error for an argument of a wrong type.

    Args:
        arguments: Each argument's value and its allowed kinds, by name. ``bool`` does not match a
            number, and ``int`` matches ``float``.

    Raises:
        ConfigurationError: For the first argument of another kind, or an invalid path.
    """
    for name, (value, *kinds) in arguments.items():
        if not any(_is(value, kind) for kind in kinds):
            message = f"{name} is of type {type(value).__name__}; give {_words(kinds)}"
            raise ConfigurationError(message)
        if os.PathLike in kinds and isinstance(value, str | os.PathLike):
            _check_path(name, value)


def wait_of(timeout: float, name: str = "timeout") -> float:
    """Return the longest wait in seconds; more than a year counts as a year.

    Args:
        timeout: In seconds. ``math.inf`` is more than threads, sockets and the SDK can wait for.
        name: The argument's name.

    Raises:
        ConfigurationError: If it is not a number.
    """
    check(**{name: (timeout, int, float)})
    if math.isnan(timeout):
        message = f"{name} is not a number (NaN); give the longest wait"
        raise ConfigurationError(message)
    return min(timeout, _LONGEST_WAIT)


def _check_path(name: str, value: str | os.PathLike[str]) -> None:
    """Raise an error for a path that no operating system accepts."""
    path: object = os.fspath(value)
    try:
        encoded = os.fsencode(path) if isinstance(path, str) else None
    except UnicodeEncodeError:
        encoded = None
    if encoded is None or b"\0" in encoded:
        message = f"{name}={path!r} is not a path: it has a character that file names cannot have"
        raise ConfigurationError(message)


def _is(value: object, kind: Kind) -> bool:
    if kind is None:
        return value is None
    if isinstance(kind, With):
        return not isinstance(value, type) and callable(getattr(type(value), kind.method, None))
    if isinstance(kind, Of):
        if value is None:
            return False
        kind = cast("type", getattr(import_module(kind.package), kind.name))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


def _words(kinds: Sequence[Kind]) -> str:
    """Return what to give; a number includes whole numbers."""
    words = [_word(kind) for kind in kinds if kind and not (kind is int and float in kinds)]
    return " or ".join(dict.fromkeys(words))


def _word(kind: type | With | Of) -> str:
    if isinstance(kind, With):
        return kind.example
    if isinstance(kind, Of):
        return f"a {kind.name}"
    return _WORDS.get(kind) or f"a {kind.__name__}"
