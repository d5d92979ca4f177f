"""Reading the content of objects of any type, without side effects of their code.

An agent may record an object whose methods raise, that claims to be of another class, or whose
methods have side effects: a mock, a remote proxy, a lazy query. Every decision therefore depends on
``type(value)``, never on the instance, and only the methods of known protocols are called: those of
Python's own types and abstract classes, dataclasses, pydantic models, arrays, and ``__str__``. If
these raise, the object still has a defined text.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import traceback
from collections import UserString
from collections.abc import Callable, Iterable, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from itertools import islice
from os import PathLike, fspath
from typing import Any, cast
from uuid import UUID

from wakelog.runtime import let_through

MOST_ITERATED = 100_000
"""Maximum number of items that are taken from a user-defined iterator."""
LEFT_OUT = "[wakelog: left out]"
"""The key of a map for the number of items that were left out."""

_MORE = f"[wakelog: more than {MOST_ITERATED} items]"
_LEAVES = str | bytes | bytearray | memoryview | enum.Enum
_SOME_MORE = "[wakelog: more left out]"
# Classes by module, which is loaded if such an object exists, and the method that returns the
# content in Python's own types.
_MODELS = (("pydantic.main", "BaseModel"), ("pydantic.v1.main", "BaseModel"))
_ARRAYS = (("numpy", "ndarray", "tolist"), ("numpy", "generic", "item"), ("torch", "Tensor", "tolist"))  # fmt: skip
_MOCKS = ("unittest.mock", "NonCallableMock")
# The descriptors of `type`, because those of a metaclass may return something else, or raise.
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_of: Callable[[type], object] = type.__dict__["__module__"].__get__


def opened(value: object, most: int = sys.maxsize) -> object:
    """Return the content of an object.

    Args:
        value: Any object. It is not changed.
        most: Maximum number of items to take from a container. One more item says how many were
            left out.

    Returns:
        A ``str``, ``bytes``, ``int``, ``float``, ``dict``, ``list`` or ``tuple``, of exactly that
        type and never the object itself, or an enum's value. Items may be of any type. An object of
        an unknown kind becomes its text, see ``text_of``.
    """
    try:
        return _opened(value, type(value), most)
    except Exception as error:  # noqa: BLE001 - whatever an object raises, the event is recorded
        let_through(error)
        return text_of(value)


def fields_in(value: object) -> dict[Any, Any]:
    """Return the content of an object by name, for objects that are recorded as an event.

    Args:
        value: Any object.

    Returns:
        A new dict: the fields of a mapping, model, dataclass or named tuple, else the attributes
        whose names do not begin with an underscore; ``{"value": ...}`` if it has none.
    """
    kind = type(value)
    held = opened(value)
    if type(held) is dict:
        return held
    try:
        if type(held) is tuple:
            return dict(zip(kind._fields, held, strict=True))  # type: ignore[attr-defined]
        stored = object.__getattribute__(value, "__dict__")
        if type(stored) is dict and not issubclass(kind, str) and not _is_of(kind, *_MOCKS):
            shown = {n: v for n, v in stored.items() if type(n) is str and not n.startswith("_")}
            return shown or {"value": held}
    except Exception as error:  # noqa: BLE001 - its content has no names
        let_through(error)
        return {"value": held}
    return {"value": held}


def text_of(value: object) -> str:
    """Return the text of an object, or its type's name if it has none."""
    kind = type(value)
    try:
        text = _own_text(value, kind)
    except Exception as error:  # noqa: BLE001 - a broken __str__ must cost the text and not the event
        let_through(error)
        text = None
    return f"<{_full_name(kind)} object>" if text is None else text


def type_name(kind: type) -> str:
    """Return the qualified name of a type, without ``builtins``."""
    return _full_name(kind).removeprefix("builtins.")


def traceback_of(error: BaseException) -> str:
    """Return an exception's traceback as Python prints it; empty if formatting fails."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - formatting a user's exception may raise anything
        return ""


def _full_name(kind: type) -> str:
    module = _module_of(kind)
    return f"{module}.{_qualname_of(kind)}" if type(module) is str else _qualname_of(kind)


def _opened(value: Any, kind: type, most: int) -> object:
    if issubclass(kind, enum.Enum):
        return object.__getattribute__(value, "_value_")
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, bytes | bytearray | memoryview):
        return memoryview(value).tobytes()
    if issubclass(kind, datetime | date | time):
        return _exact_text(kind.isoformat(value))
    if issubclass(kind, timedelta):
        return timedelta.total_seconds(value)
    if issubclass(kind, UUID):
        return UUID.__str__(value)
    if _is_of(kind, "decimal", "Decimal"):
        return cast("Any", _class("decimal", "Decimal")).__str__(value)
    if _is_of(kind, *_MOCKS) or issubclass(kind, type):
        return text_of(value)
    if issubclass(kind, PathLike):
        return _opened(path := fspath(value), type(path), most)
    if issubclass(kind, dict):
        more = dict.__len__(value) - most
        if more <= 0:
            return dict(dict.items(value))
        return dict(islice(dict.items(value), most)) | {LEFT_OUT: left_out(more)}
    if issubclass(kind, list):
        more = list.__len__(value) - most
        held: Any = list.__getitem__(value, slice(min(most, sys.maxsize)))
        return held if more <= 0 else [*held, left_out(more)]
    if issubclass(kind, tuple):
        more = tuple.__len__(value) - most
        held = tuple.__getitem__(value, slice(most)) if more > 0 else tuple.__iter__(value)
        return tuple(held) if more <= 0 else (*held, left_out(more))
    if issubclass(kind, set | frozenset):
        base: Any = set if issubclass(kind, set) else frozenset
        more = base.__len__(value) - most
        items = sorted(islice(base.__iter__(value), most), key=text_of)
        return items if more <= 0 else [*items, left_out(more)]
    return _opened_by_protocol(value, kind, min(most, MOST_ITERATED))


def nothing_of(value: object) -> str | None:
    """Return the note for a container of which no items are taken.

    Returns:
        None for an empty container, and for any other object.
    """
    kind: Any = type(value)
    for base in (dict, list, tuple, set, frozenset):
        if issubclass(kind, base):
            size = base.__len__(value)  # type: ignore[arg-type] # it is one of these
            return left_out(size) if size else None
    if issubclass(kind, Mapping | AbstractSet | Sequence | ValuesView):
        return None if issubclass(kind, range | UserString | _LEAVES) else _SOME_MORE
    return _SOME_MORE if dataclasses.is_dataclass(kind) or _model(kind) is not None else None


def left_out(count: int) -> str:
    """Return the note for items that were left out."""
    return f"[wakelog: {count} more left out]"


def _opened_by_protocol(value: Any, kind: type, most: int) -> object:
    if issubclass(kind, Mapping):
        return _pairs_of(value, most)
    if issubclass(kind, AbstractSet):
        return sorted(_some(value, most), key=text_of)
    if issubclass(kind, Sequence | ValuesView) and not issubclass(kind, range | UserString):
        return list(_some(value, most))
    if (base := _model(kind)) is not None:
        return _dumped(value, kind, base)
    if dataclasses.is_dataclass(kind):
        return {field.name: _field(value, field.name) for field in dataclasses.fields(kind)}
    for module, name, method in _ARRAYS:
        if (base := _class(module, name)) is not None and issubclass(kind, base):
            held: object = getattr(base, method)(value)
            return text_of(value) if type(held) is kind else held
    return text_of(value)


def _some(value: Iterable[Any], most: int) -> Iterable[Any]:
    """Yield at most ``most`` items of an iterable that may be infinite."""
    items = iter(value)
    yield from islice(items, most)
    for _ in items:
        yield _MORE if most == MOST_ITERATED else _SOME_MORE
        return


def _pairs_of(mapping: Any, most: int) -> dict[Any, object]:
    """Return the items of a mapping, up to a repeated key, because it may be infinite."""
    held: dict[Any, object] = {}
    for key in _some(mapping, most):
        if key in held:
            held[_SOME_MORE] = None
            break
        held[key] = _item(mapping, key)
    return held


def _item(mapping: Any, key: object) -> object:
    try:
        return None if key is _MORE or key is _SOME_MORE else mapping[key]
    except Exception as error:  # noqa: BLE001 - one value that cannot be read costs one value
        let_through(error)
        return _unreadable(error)


def _field(value: object, name: str) -> object:
    """Read a field without the instance's own ``__getattribute__``."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None
    except Exception as error:  # noqa: BLE001 - one field that cannot be read costs one field
        let_through(error)
        return _unreadable(error)


def _unreadable(error: Exception) -> str:
    return f"[wakelog: {type_name(type(error))} while it was read]"


def _class(module: str, name: str) -> type | None:
    """Return a class of a loaded module, or None."""
    found = getattr(sys.modules.get(module), name, None)
    return found if type(found) is type or issubclass(type(found), type) else None


def loaded_numbers() -> tuple[type, ...]:
    """Return ``Decimal`` and ``Fraction`` if their modules are loaded: else no value is one.

    Importing both takes 2 ms, and few programs use them.
    """
    found = (_class("decimal", "Decimal"), _class("fractions", "Fraction"))
    return tuple(kind for kind in found if kind is not None)


def _is_of(kind: type, module: str, name: str) -> bool:
    base = _class(module, name)
    return base is not None and issubclass(kind, base)


def _model(kind: type) -> type | None:
    """Return the base class of models from which a type is derived, or None."""
    for module, name in _MODELS:
        base = _class(module, name)
        if base is not None and issubclass(kind, base):
            return base
    return None


def _dumped(value: object, kind: Any, base: Any) -> object:
    """Return a pydantic model as a dict; its own text or stored fields if dumping it fails."""
    try:
        if "model_dump" not in vars(base):
            held = kind.dict(value)
        elif kind.model_dump is base.model_dump:
            held = kind.model_dump(value, warnings=False)
        else:
            held = kind.model_dump(value)
    except Exception as error:  # noqa: BLE001 - computed fields and serializers are the user's code
        let_through(error)
        if kind.__str__ is not base.__str__:
            return text_of(value)
        stored = object.__getattribute__(value, "__dict__")
        fields = getattr(kind, "__pydantic_fields__", None) or kind.__fields__
        return {name: stored[name] for name, field in fields.items() if _shows(field, name, stored)}
    return text_of(value) if type(held) is kind else held


def _shows(field: Any, name: str, stored: Mapping[str, object]) -> bool:
    """Return whether a field is set, and excluded neither from dumps nor from the text."""
    told = getattr(field, "field_info", field)
    return name in stored and not told.exclude and told.repr is not False


def _own_text(value: Any, kind: Any) -> str | None:
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return None
    # A mock records calls of its __str__; its __repr__ is that of its class.
    return _exact_text(repr(value) if _is_of(kind, *_MOCKS) else str(value))


def _exact_text(text: str) -> str:
    return text if type(text) is str else str.__str__(text)
