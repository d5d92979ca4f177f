"""Classes that are made without compiling source behave like those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from typing import Any

import pytest

from wakelog import _plain_classes


def made_by(dataclass: Any, named_tuple: Any) -> dict[str, Any]:
    """Return the same classes, made by the given functions."""

    @dataclass(frozen=True, slots=True)
    class Frozen:
        """Frozen, with slots."""

        a: int
        b: str = "b"
        c: list[int] = dataclasses.field(default_factory=list, repr=False)

        def __post_init__(self) -> None:
            if self.a == 0:
                raise ValueError("a is 0")

        @property
        def double(self) -> int:
            """Twice a."""
            return 2 * self.a

    @dataclass(frozen=True)
    class Open:
        """Frozen, without slots."""

        a: int = 1
        b: str = "b"

    @dataclass(slots=True)
    class Mutable:
        """Not frozen."""

        a: int
        b: dict[str, int] = dataclasses.field(default_factory=dict)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        """All arguments by name."""

        a: int
        b: str = "b"

    @dataclass
    class OwnMethods:
        """With a constructor and a text of its own."""

        a: int = 1

        def __init__(self, a: int = 5) -> None:
            self.a = a

        def __repr__(self) -> str:
            return f"own {self.a}"

    class Pair(named_tuple):  # type: ignore[misc]
        """A tuple."""

        a: int
        b: str = "b"

        @property
        def double(self) -> int:
            """Twice a."""
            return 2 * self.a

        @classmethod
        def of(cls, a: int) -> Any:
            """Return one."""
            return cls(a)

    class Child(Pair):
        __slots__ = ()

    known = [Frozen, Open, Mutable, Named, OwnMethods, Pair, Child]
    return {one.__name__: one for one in known}


OURS = made_by(_plain_classes.dataclass, _plain_classes.NamedTuple)
THEIRS = made_by(dataclasses.dataclass, typing.NamedTuple)
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((0,), {}),
    ((1, "x"), {}),
    ((1,), {"b": "x"}),
    ((), {"a": 1}),
    ((), {"b": "x", "a": 1}),
    ((), {"b": "x"}),
    ((1,), {"a": 2}),
    ((1,), {"d": 2}),
    ((), {"d": 2}),
    ((1, "x", [3]), {}),
    ((1, "x", [3], 4), {}),
]


def outcome(code: Any) -> tuple[str, Any]:
    """Return the result of code, or the class of what it raised."""
    try:
        return "returned", code()
    except Exception as error:
        return "raised", type(error).__name__


def seen(value: Any) -> Any:
    return repr(value).replace("<locals>.", "")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("args, given", CALLS)
def test_a_call_has_the_same_result(
    name: str, args: tuple[Any, ...], given: dict[str, Any]
) -> None:
    ours, theirs = (outcome(lambda c=c: c[name](*args, **given)) for c in (OURS, THEIRS))

    assert ours[0] == theirs[0]
    assert seen(ours[1]) == seen(theirs[1])
    if ours[0] == "returned":
        one, other = OURS[name](*args, **given), THEIRS[name](*args, **given)
        assert one == ours[1]
        assert (one == other) is (theirs[1] == ours[1])
        assert outcome(lambda: hash(one))[0] == outcome(lambda: hash(other))[0]
        for code in (
            lambda x: setattr(x, "a", 2),
            # Python 3.11 raises a TypeError for a new attribute of a frozen class with slots.
            lambda x: setattr(x, "new", 2) if hasattr(x, "__dict__") else None,
            lambda x: delattr(x, "a"),
            lambda x: x.double,
            dataclasses.asdict,
            lambda x: dataclasses.replace(x, a=7),
            lambda x: dataclasses.replace(x, a=0),
            lambda x: dataclasses.replace(x, z=7),
            lambda x: x._replace(a=7),
            lambda x: x._replace(z=7),
            lambda x: x._asdict(),
            lambda x: x._make([1]),
            lambda x: x._make([1, 2]),
            lambda x: x.of(3),
            lambda x: [*x],
            lambda x: x[1],
            copy.copy,
            copy.deepcopy,
            lambda x: {x: 1}[copy.copy(x)],
            lambda x: x,
        ):
            pair = [outcome(lambda c=code, x=x: c(copy.copy(x))) for x in (one, other)]
            assert seen(pair[0]) == seen(pair[1])


@pytest.mark.parametrize("name", OURS)
def test_a_class_describes_itself_in_the_same_way(name: str) -> None:
    one, other = OURS[name], THEIRS[name]

    assert one.__doc__ == other.__doc__
    assert one.__module__ == other.__module__
    assert one.__qualname__ == other.__qualname__
    assert getattr(one, "__match_args__", None) == getattr(other, "__match_args__", None)
    assert getattr(one, "__slots__", None) == getattr(other, "__slots__", None)
    assert getattr(one, "_fields", None) == getattr(other, "_fields", None)
    assert getattr(one, "_field_defaults", None) == getattr(other, "_field_defaults", None)
    assert dataclasses.is_dataclass(one) == dataclasses.is_dataclass(other)
    if dataclasses.is_dataclass(one):
        assert [f.name for f in dataclasses.fields(one)] == [
            f.name for f in dataclasses.fields(other)
        ]
    shapes = [
        [(p.name, p.kind, p.default is p.empty) for p in inspect.signature(c).parameters.values()]
        for c in (one, other)
    ]
    assert shapes[0] == shapes[1]


def test_a_frozen_class_can_be_the_base_of_a_frozen_class_of_the_standard_library() -> None:
    for base in (OURS["Open"], THEIRS["Open"]):

        @dataclasses.dataclass(frozen=True)
        class More(base):  # type: ignore[valid-type, misc]
            c: int = 3

        assert More(c=4) == More(1, "b", 4)
        assert "c=4" in repr(More(c=4))
        with pytest.raises(dataclasses.FrozenInstanceError):
            More().c = 4  # type: ignore[misc]
        with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass"):
            dataclasses.dataclass(type("Thawed", (base,), {}))


def test_a_subclass_with_a_constructor_of_its_own_has_its_signature() -> None:
    base = OURS["Open"]

    class More(base):  # type: ignore[valid-type, misc]
        def __init__(self, only: int) -> None:
            super().__init__(only)

    assert list(inspect.signature(More).parameters) == ["only"]
    assert list(inspect.signature(OURS["Open"]).parameters) == ["a", "b"]


@_plain_classes.dataclass(frozen=True, slots=True)
class Stored:
    a: int
    b: str = "b"


class StoredPair(_plain_classes.NamedTuple):
    a: int
    b: str = "b"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_objects_can_be_stored(protocol: int) -> None:
    for one in (Stored(1), Stored(1, "x"), StoredPair(1), StoredPair(1, "x")):
        again = pickle.loads(pickle.dumps(one, protocol))

        assert again == one
        assert type(again) is type(one)


def test_an_object_that_contains_itself_has_a_text() -> None:
    for classes in (OURS, THEIRS):
        one = classes["Mutable"](1)
        one.b["self"] = one

        assert repr(one).endswith("Mutable(a=1, b={'self': ...})")
