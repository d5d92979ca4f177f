"""Data classes whose import is cheap.

``dataclasses.dataclass`` compiles the source of six methods for each class, which was a third of the
time that importing Wakelog took. Here, only ``__init__`` is compiled, and the other methods are
functions that look at the fields. The classes are those of ``dataclasses`` in every other respect:
``fields``, ``replace``, ``asdict`` and ``pickle`` treat them alike.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, field
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final, TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(field_specifiers=(field,))
def dataclass(
    *, frozen: bool = False, slots: bool = False, kw_only: bool = False
) -> Callable[[type[_Class]], type[_Class]]:
    """Return a decorator that does what ``dataclasses.dataclass`` does with these arguments.

    A data class that is derived from a frozen one needs the decorator of ``dataclasses``. The
    options of ``field`` are supported, except ``init``, ``hash`` and ``compare``.

    Args:
        frozen: Whether fields cannot be assigned after ``__init__``.
        slots: Whether the class has ``__slots__``.
        kw_only: Whether ``__init__`` takes keyword arguments only.
    """

    def decorate(cls: type[_Class]) -> type[_Class]:
        own = frozenset(vars(cls))
        made = dataclasses.dataclass(
            init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
        )(cls)
        fields = dataclasses.fields(made)  # type: ignore[arg-type] # it is one now
        methods = {
            "__init__": _initializer(made, fields, frozen=frozen),
            **_comparing(fields),
            "__repr__": _representation(fields),
        }
        if frozen:
            methods |= _freezing(made, frozenset(one.name for one in fields))
            if slots:
                methods |= _pickling(fields)
            # So that another frozen data class can be derived from it.
            made.__dataclass_params__.frozen = True  # type: ignore[attr-defined]
        else:
            methods["__hash__"] = None
        for name, method in methods.items():
            if name not in own:
                if method is not None:
                    method.__name__ = name
                    method.__qualname__ = f"{made.__qualname__}.{name}"
                setattr(made, name, method)
        return made

    return decorate


_Fields = tuple[dataclasses.Field[Any], ...]
_Methods = dict[str, Any]


class _Absent:
    def __repr__(self) -> str:  # as `inspect.signature` shows it
        return "<factory>"


_ABSENT: Final = _Absent()


def _initializer(cls: type, fields: _Fields, *, frozen: bool) -> Callable[..., None]:
    """Compile ``__init__``, as quick to call as that of ``dataclasses``."""
    given: dict[str, Any] = {"__set": object.__setattr__, "__absent": _ABSENT}
    positional, keyword, body = ["self"], list[str](), list[str]()
    for one in fields:
        name = value = one.name
        parameter = name
        if one.default_factory is not MISSING:
            given[f"__new_{name}"] = one.default_factory
            parameter = f"{name}=__absent"
            value = f"__new_{name}() if {name} is __absent else {name}"
        elif one.default is not MISSING:
            given[f"__default_{name}"] = one.default
            parameter = f"{name}=__default_{name}"
        (keyword if one.kw_only else positional).append(parameter)
        body.append(f"__set(self,{name!r},{value})" if frozen else f"self.{name}={value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ",".join((*positional, *(("*", *keyword) if keyword else ())))
    source = (
        f"def make({','.join(given)}):\n def __init__({parameters}):\n  "
        + "\n  ".join(body)
        + "\n return __init__"
    )
    scope: dict[str, Any] = {}
    exec(source, sys.modules[cls.__module__].__dict__, scope)  # noqa: S102 - of names of fields
    made: Callable[..., None] = scope["make"](**given)
    made.__annotations__ = {**{one.name: one.type for one in fields}, "return": None}
    return made


def _comparing(fields: _Fields) -> _Methods:
    names = [one.name for one in fields]
    values: Callable[[Any], Any] = attrgetter(*names)
    if len(names) == 1:  # for which `attrgetter` makes no tuple

        def values(self: Any, name: str = names[0]) -> Any:
            return (getattr(self, name),)

    def equals(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def hashed(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": equals, "__hash__": hashed}


def _representation(fields: _Fields) -> Callable[[Any], str]:
    names = [one.name for one in fields if one.repr]

    @recursive_repr()
    def shown(self: Any) -> str:
        values = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({values})"

    return shown


def _freezing(cls: type[Any], names: frozenset[str]) -> _Methods:
    def assign(self: Any, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            message = f"cannot assign to field {name!r}"
            raise FrozenInstanceError(message)
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            message = f"cannot delete field {name!r}"
            raise FrozenInstanceError(message)
        super(cls, self).__delattr__(name)

    return {"__setattr__": assign, "__delattr__": delete}


def _pickling(fields: _Fields) -> _Methods:
    names = [one.name for one in fields]

    def state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def restore(self: Any, kept: list[Any]) -> None:
        for name, value in zip(names, kept, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": state, "__setstate__": restore}
