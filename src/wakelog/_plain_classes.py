"""Data classes and named tuples that are created without compiling source.

The standard library compiles the methods of each data class and the constructor and types of each
named tuple, which takes 0.5 and 0.1 ms. Every program that records would pay for that when it
starts. The classes made here behave alike; only creating a data class's object, or a tuple with
named arguments, takes one or two microseconds longer. A data class with an object for each record
therefore has a constructor of its own.

All fields of a data class are arguments of its constructor, and are compared. A data class has no
bases that are data classes.

For type checkers, ``dataclass`` and ``NamedTuple`` are those of the standard library.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - exported
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - exported

_set: Final = object.__setattr__
_delete: Final = object.__delattr__
_new_tuple: Final = tuple.__new__


class _Arguments:
    """The arguments of a constructor; also the descriptor of a class's ``__signature__``.

    Args:
        call: The constructor's name in messages.
        types: The types of the arguments by name.
        positional: The names of those that may be passed by position.
        defaults: The values of those that have a default.
        factories: Functions for the values of further ones.
    """

    def __init__(
        self,
        call: str,
        types: Mapping[str, Any],
        positional: Iterable[str],
        defaults: Mapping[str, Any],
        factories: Mapping[str, Callable[[], Any]],
    ) -> None:
        self._call, self._types, self._positional = call, types, tuple(positional)
        self._defaults, self._factories = defaults, factories
        self.constructor: Any = None
        """The constructor, which subclasses may override."""

    def values(self, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a call by name, in no particular order.

        Raises:
            TypeError: If the arguments do not fit.
        """
        passed = dict(zip(self._positional, args, strict=False))
        values = {**self._defaults, **passed, **given}
        for name, factory in self._factories.items():
            if name not in values:
                values[name] = factory()
        if (
            values.keys() != self._types.keys()
            or len(args) > len(passed)
            or not passed.keys().isdisjoint(given)
        ):
            try:
                self._signature().bind(*args, **given)
            except TypeError as error:
                raise TypeError(f"{self._call} {error}") from None
        return values

    def _signature(self) -> Signature:
        parameters = [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD
                if name in self._positional
                else Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=self._defaults.get(name, self._factories.get(name, Parameter.empty)),
            )
            for name, annotation in self._types.items()
        ]
        return Signature(
            sorted(parameters, key=lambda one: one.kind), return_annotation=Signature.empty
        )

    def __get__(self, obj: object, owner: Any) -> Signature:
        if obj is not None or self.constructor not in (owner.__init__, owner.__new__):
            raise AttributeError("__signature__")
        return self._signature()


def _dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, kw_only: bool = False
) -> Any:
    """Make a data class, as ``dataclasses.dataclass`` does.

    Args:
        cls: The class, if the decorator is used without arguments.
        frozen: Whether objects are immutable, and have a hash.
        slots: Whether the class has slots.
        kw_only: Whether all arguments of the constructor are passed by name.

    Returns:
        The class, or a decorator.
    """

    def made(cls: type) -> Any:
        own = frozenset(vars(cls))
        plain: Any = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        # The standard library reads this for the data classes that inherit from this one.
        plain.__dataclass_params__.frozen = frozen
        fields = dataclasses.fields(plain)
        methods = _OF_DATA_CLASSES | (_OF_FROZEN if frozen else {"__hash__": None})
        if frozen and slots:
            methods |= _OF_FROZEN_SLOTS
        methods["__signature__"] = arguments = _arguments_of(plain, fields)
        if "__init__" not in own:
            methods["__init__"] = arguments.constructor = _constructor(plain, fields, arguments)
        methods = {name: method for name, method in methods.items() if name not in own}
        if slots:
            return _with_slots(plain, [field.name for field in fields], methods)
        for name, method in methods.items():
            setattr(plain, name, method)
        return plain

    return made if cls is None else made(cls)


def _with_slots(cls: Any, names: list[str], methods: dict[str, Any]) -> type:
    """Return the class again with slots, which only the creation of a class can give it."""
    namespace = {**vars(cls), **methods, "__slots__": tuple(names)}
    for name in (*names, "__dict__", "__weakref__"):
        namespace.pop(name, None)
    made: type = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _arguments_of(cls: Any, fields: tuple[dataclasses.Field[Any], ...]) -> _Arguments:
    missing = dataclasses.MISSING
    return _Arguments(
        f"{cls.__qualname__}.__init__()",
        {field.name: field.type for field in fields},
        [field.name for field in fields if not field.kw_only],
        {field.name: field.default for field in fields if field.default is not missing},
        {f.name: f.default_factory for f in fields if f.default_factory is not missing},
    )


def _constructor(
    cls: Any, fields: tuple[dataclasses.Field[Any], ...], arguments: _Arguments
) -> Callable[..., None]:
    names = [field.name for field in fields]
    finishes = hasattr(cls, "__post_init__")
    # The number of arguments with which a call needs no check.
    whole = -1 if any(field.kw_only for field in fields) else len(names)

    def construct(self: Any, /, *args: Any, **given: Any) -> None:
        if len(args) == whole and not given:
            for name, value in zip(names, args, strict=True):
                _set(self, name, value)
        else:
            values = arguments.values(args, given)
            for name in names:
                _set(self, name, values[name])
        if finishes:
            self.__post_init__()

    return construct


# The methods of data classes


@recursive_repr()
def _represent(self: Any) -> str:
    shown = [field.name for field in dataclasses.fields(self) if field.repr]
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({values})"


def _values_of(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _equal(self: Any, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return _values_of(self) == _values_of(other)


def _hash_of(self: Any) -> int:
    return hash(tuple(_values_of(self)))


def _is_fixed(self: Any, name: str) -> bool:
    return name in self.__dataclass_fields__ or "__dataclass_params__" in vars(type(self))


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    _set(self, name, value)


def _refuse_to_delete(self: Any, name: str) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    _delete(self, name)


def _restore(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        _set(self, name, value)


_OF_DATA_CLASSES: Final[dict[str, Any]] = {"__repr__": _represent, "__eq__": _equal}
_OF_FROZEN: Final[dict[str, Any]] = {
    "__hash__": _hash_of,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
}
# Otherwise `pickle` and `copy` would set the slots by `setattr`.
_OF_FROZEN_SLOTS: Final[dict[str, Any]] = {"__getstate__": _values_of, "__setstate__": _restore}


# Named tuples


class _NamedTupleMaker(type):
    """Makes the body of a class into a named tuple."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        types = namespace["__annotations__"]
        defaults = {field: namespace.pop(field) for field in types if field in namespace}
        arguments = _Arguments(f"{name}.__new__()", types, types, defaults, {})
        arguments.constructor = _tuple_constructor(
            tuple(types), tuple(defaults.values()), arguments
        )
        fields = {
            field: _FieldOf(number, f"Alias for field number {number}")
            for number, field in enumerate(types)
        }
        own = {
            "__new__": arguments.constructor,
            "__signature__": arguments,
            "__match_args__": tuple(types),
            "_fields": tuple(types),
            "_field_defaults": defaults,
        }
        return type(name, (tuple,), {**_OF_NAMED_TUPLES, **own, **fields, **namespace})


def _tuple_constructor(
    names: tuple[str, ...], defaults: tuple[Any, ...], arguments: _Arguments
) -> Callable[..., Any]:
    """Return the constructor of a named tuple, whose last fields have the defaults."""
    count = len(names)
    required = count - len(defaults)

    def new(cls: Any, /, *args: Any, **given: Any) -> Any:
        passed = len(args)
        if given or not required <= passed <= count:
            values = arguments.values(args, given)
            args = tuple([values[name] for name in names])
        elif passed != count:
            args += defaults[passed - required :]
        return _new_tuple(cls, args)

    return new


def _make(cls: Any, iterable: Iterable[Any]) -> Any:
    """Return a new tuple with the values of an iterable."""
    made = _new_tuple(cls, iterable)
    if len(made) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
    return made


def _replace(self: Any, /, **changes: Any) -> Any:
    """Return a new tuple with other values for some fields."""
    made = self._make(map(changes.pop, self._fields, self))
    if changes:
        raise ValueError(f"Got unexpected field names: {list(changes)!r}")
    return made


def _as_dict(self: Any) -> dict[str, Any]:
    """Return the values by the names of the fields."""
    return dict(zip(self._fields, self, strict=True))


def _represent_tuple(self: Any) -> str:
    values = ", ".join(f"{name}={value!r}" for name, value in _as_dict(self).items())
    return f"{type(self).__name__}({values})"


def _as_tuple(self: Any) -> tuple[Any, ...]:
    return tuple(self)


# The class of the descriptors of a named tuple's fields, which are in C.
_FieldOf: Final[Callable[[int, str], Any]] = type(namedtuple("_One", ["field"]).field)  # type: ignore[attr-defined] # noqa: PYI024
_OF_NAMED_TUPLES: Final[dict[str, Any]] = {
    "__slots__": (),
    "__repr__": _represent_tuple,
    "__getnewargs__": _as_tuple,
    "__replace__": _replace,
    "_make": classmethod(_make),
    "_replace": _replace,
    "_asdict": _as_dict,
}


class _NamedTuple(metaclass=_NamedTupleMaker):
    """The base of a named tuple, as ``typing.NamedTuple``."""


if not TYPE_CHECKING:
    dataclass, NamedTuple = _dataclass, _NamedTuple
