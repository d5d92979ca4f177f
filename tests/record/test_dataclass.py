"""A data class of `wakelog._dataclass` is one of `dataclasses`, and only its making is cheaper."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any

import pytest

from wakelog import _dataclass


class Point:
    """Fields of each kind."""

    x: int
    y: int = 2
    _set: list[int] = field(default_factory=list)
    key: str = field(default="k", repr=False)

    @property
    def sum(self) -> int:
        """A property, which stays one."""
        return self.x + self.y


class Named:
    """Fields that are given by name, a check, and a method of the class's own."""

    name: str
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 0:
            message = f"size {self.size}"
            raise ValueError(message)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Single:
    """One field, and a value that is kept beside it."""

    only: object = None

    @cached_property
    def twice(self) -> tuple[object, object]:
        """Only kept without slots."""
        return (self.only, self.only)


OPTIONS = [
    (Point, {"frozen": True, "slots": True}, [((1,), {}), ((1, 3, [4]), {"key": "l"})]),
    (Point, {"slots": True}, [((1,), {}), ((), {"x": 1, "y": 5})]),
    (Point, {}, [((1,), {}), ((), {"x": 1, "y": 5})]),
    (
        Named,
        {"frozen": True, "kw_only": True},
        [((), {"name": "a"}), ((), {"name": "b", "size": 3})],
    ),
    (Single, {"frozen": True}, [((), {}), ((float("nan"),), {}), (((1, 2),), {})]),
]
# Classes of the module, so that they can be pickled; the two kinds take the name in turn.
Made: Any = None


def made_by(decorator: Callable[..., Any], base: type, options: dict[str, bool]) -> type:
    body = {k: v for k, v in vars(base).items() if k not in {"__dict__", "__weakref__"}}
    found: type = decorator(**options)(type("Made", (), {**body, "__qualname__": "Made"}))
    return found


@pytest.mark.parametrize("base, options, calls", OPTIONS)
def test_it_behaves_as_one_of_the_standard_library(
    monkeypatch: pytest.MonkeyPatch,
    base: type,
    options: dict[str, bool],
    calls: list[tuple[tuple[object, ...], dict[str, object]]],
) -> None:
    seen = []
    for decorator in (dataclasses.dataclass, _dataclass.dataclass):
        kind: Any = made_by(decorator, base, options)
        monkeypatch.setitem(globals(), "Made", kind)
        objects = [kind(*args, **named) for args, named in calls]
        seen.append(
            {
                "signature": str(inspect.signature(kind)),
                "annotations": inspect.get_annotations(kind.__init__),
                "fields": [
                    (one.name, one.type, one.default, one.kw_only)
                    for one in dataclasses.fields(kind)
                ],
                "match": kind.__match_args__,
                "slots": getattr(kind, "__slots__", None),
                "shown": [repr(one) for one in objects],
                "equal": [[a == b for b in objects] for a in objects],
                "to itself": [one == copy.copy(one) for one in objects],
                "to others": [one == dataclasses.astuple(one) for one in objects],
                "hashes": [outcome(hash, one) for one in objects],
                "dicts": repr([dataclasses.asdict(one) for one in objects]),
                "replaced": [repr(dataclasses.replace(one)) for one in objects],
                "pickled": [repr(pickle.loads(pickle.dumps(one))) for one in objects],
                "copied": [repr(copy.deepcopy(one)) for one in objects],
                "not called": outcome(kind, nothing=1),
                "too many": outcome(kind, 1, 2, [], "", 5),
                "assigned": [outcome(setattr, one, one_field(one), 7) for one in objects],
                # With slots, the message of the standard library is that of a mistake of its own.
                "unknown": [outcome(setattr, one, "other", 7) is None for one in objects],
                "deleted": [outcome(delattr, one, one_field(one)) for one in objects],
                "names": [
                    getattr(vars(kind).get(name), "__qualname__", None)
                    for name in ("__init__", "__eq__", "__repr__", "__setattr__")
                ],
            }
        )

    standard, ours = seen
    assert ours == standard


def one_field(one: Any) -> str:
    return dataclasses.fields(one)[0].name


def outcome(call: Callable[..., object], *args: object, **named: object) -> object:
    try:
        return call(*args, **named)
    except Exception as error:
        return type(error), str(error)


@_dataclass.dataclass(frozen=True, slots=True)
class Base:
    a: int
    made: list[int] = field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Derived(Base):
    b: int = 2


def test_a_frozen_one_of_the_standard_library_can_be_derived_from_it() -> None:
    one, other = Derived(1), Derived(1)

    assert one == other
    assert repr(one) == "Derived(a=1, made=[], b=2)"
    assert one.made is not other.made
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.a = 3  # type: ignore[misc]


def test_a_field_that_holds_its_object_is_shown() -> None:
    @_dataclass.dataclass()
    class Ring:
        items: list[object]

    ring = Ring([])
    ring.items.append(ring)

    assert repr(ring).endswith("Ring(items=[...])")
