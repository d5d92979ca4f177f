"""Compiled copies of payloads equal those that are redacted in Python, or are left to it."""

from __future__ import annotations

import importlib.util
import math
import re
import signal
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from tests.support.redaction_corpus import GOES, STAYS
from wakelog.record import kept
from wakelog.redaction import RedactionConfig, RegexDetector
from wakelog.redaction._engine import Engine
from wakelog.redaction._forms import NAME_KEYS, VALUE_KEYS

if importlib.util.find_spec("wakelog_native") is None:
    pytest.skip("wakelog-native is not installed", allow_module_level=True)

import wakelog_native


class Name(str):
    """A text that is no plain text."""

    __slots__ = ()


class Map(dict[str, Any]):
    """A dict that is no plain dict."""

    __slots__ = ()


def compiled(value: Any, engine: Engine) -> dict[str, Any] | None:
    found: dict[str, Any] | None = wakelog_native.copy_untouched(
        value, engine.keys, engine.suspect, VALUE_KEYS, NAME_KEYS, engine.is_secret
    )
    return found


def in_python() -> Engine:
    engine = Engine(RedactionConfig())
    engine.copy_untouched = None
    return engine


def shared(one: Any, other: Any) -> bool:
    """Return whether two equal values have a dict or a list in common."""
    if type(one) is not type(other) or type(one) not in (dict, list):
        return False
    pairs = zip(one, other, strict=True) if type(one) is list else ((one[k], other[k]) for k in one)
    return one is other or any(shared(*pair) for pair in pairs)


def compare(value: dict[Any, Any], engine: Engine) -> None:
    redacted = engine.copy_of(value)  # first, so that the names are known
    found = compiled(value, engine)
    if found is not None:
        assert repr(found) == repr(redacted) == repr(value)
        assert not shared(found, value)


NAMES = st.sampled_from(
    ["query", "limit", "tokens", "token", "password", "value", "name", "content", "", "schlüssel"]
)
TEXTS = st.text() | st.sampled_from([text for text, *_ in (*GOES, *STAYS)])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | TEXTS
VALUES = st.recursive(
    SCALARS | st.binary() | TEXTS.map(Name),
    lambda inner: (
        st.dictionaries(NAMES | TEXTS, inner)
        | st.lists(inner)
        | st.lists(NAMES | st.sampled_from(["-u", "--password", "curl"]) | inner, max_size=3)
        | st.dictionaries(NAMES, inner).map(Map)
        | st.dictionaries(st.integers() | NAMES.map(Name), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=times(2000), deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_a_copy_equals_the_one_that_is_redacted_in_python(value: dict[str, Any]) -> None:
    compare(value, in_python())


@pytest.mark.parametrize("text", [text for text, *_ in (*GOES, *STAYS)])
@pytest.mark.parametrize("key", ["query", "tokens", "value", "password"])
def test_a_text_with_a_secret_is_left_to_python(text: str, key: str) -> None:
    engine = in_python()
    for value in ({key: text}, {"query": {key: text}}, {"query": {"n": 1, "map": {key: text}}}):
        compare(value, engine)
        compare({**value, "query": "x" * 100 + text}, engine)
        compare({"name": "password", **value}, engine)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"n": 1}
    for _ in range(levels):
        value = {"n": value}
    return value


def bomb() -> dict[str, Any]:
    value: dict[str, Any] = {f"n{number}": "x" * 10_000 for number in range(32)}
    for _ in range(3):
        value = {f"n{number}": value for number in range(32)}
    return value


def lists(levels: int) -> dict[str, Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * 32
    return {"n": value}


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {"n": 1}
    value["map"] = value
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"query": ["password", "x"]},
        {"query": ["api key", 5]},
        {"query": [["n", 1], ["x-api-key", "x"]]},
        {"query": ["curl", "-u", "ada:x"]},
        {"query": [{"password": 1}]},
        {"query": [b"x"]},
        {"query": ["\ud83d"]},
        {"tokens": [1, 2]},
        {"query": (1,)},
        {"query": b"x"},
        {"query": Name("x")},
        {"query": Map(n=1)},
        {"query": OrderedDict(n=1)},
        {"query": object()},
        {"query": {1: 2}},
        {"query": {Name("n"): 2}},
        {"query": "\u200bx"},
        {"query": "ä" * 100},
        {"query": "\ud83d" * 100},
        {f"name{number}": number for number in range(33)},
        nested(9),
        nested(100_000),
        circle(),
        bomb(),
        lists(4),
        {"password": "x"},
        {"tokens": "x"},
        {"value": 1, "name": "password"},
        {"value": 1, "name": "x" * 64},
        {"new": 1},
    ],
    ids=range(30),
)
def test_other_values_are_left_to_python(value: dict[str, Any]) -> None:
    engine = in_python()
    engine.copy_of({"query": 1, "n": 1, "map": 1, "tokens": 1, "password": 1, "value": 1})
    engine.copy_of({"name": 1})
    engine.copy_of({f"n{number}": 1 for number in range(32)})

    assert compiled(value, engine) is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"query": "flights to Lisbon", "n": 3},
        {"n": {"query": {"map": {"n": math.inf}}}},
        {"query": "x" * 10_000, "n": -(10**100), "map": {}},
        {"query": "äöü", "n": True, "map": None},
        {"tokens": 12, "n": 1j},
        {"query": ["new", "web"], "n": [], "map": [[1, 2.5], ["a", None, "b"]]},
        {"query": [{"n": "user", "map": [{"n": "text", "content": "flights to Lisbon"}]}]},
        {"value": 1, "name": "color"},
        {"query": ["x" * 100, 5], "n": [0.25] * 1536},
        nested(8),
    ],
)
def test_usual_values_are_copied(value: dict[str, Any]) -> None:
    engine = in_python()
    engine.copy_of({"query": 1, "n": 1, "map": 1, "tokens": 1, "value": 1, "name": 1, "content": 1})

    found = compiled(value, engine)

    assert found == value
    assert not shared(found, value)
    assert found == kept(value)


def test_detectors_of_the_user_see_every_text() -> None:
    detector = RegexDetector("flight", re.compile(r"TP \d+"))
    engine = Engine(RedactionConfig(detectors=(detector,)))

    for _ in range(2):
        assert engine.copy_of({"query": "seat on TP 559"}) != {"query": "seat on TP 559"}


def test_an_exception_of_a_search_is_passed_on() -> None:
    engine = in_python()
    engine.copy_of({"query": 1})

    def fail(_: str) -> None:
        raise RecursionError

    with pytest.raises(RecursionError):
        wakelog_native.copy_untouched(
            {"query": "x"}, engine.keys, fail, VALUE_KEYS, NAME_KEYS, engine.is_secret
        )


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, SystemExit, ValueError])
def test_an_exception_of_a_signals_handler_reaches_the_program(kind: type[BaseException]) -> None:
    engine = in_python()
    engine.copy_untouched = wakelog_native.copy_untouched
    engine.copy_of({"query": 1})

    def stop(*_: object) -> None:
        raise kind

    def search(_: str) -> None:
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        engine.suspect = search
        with pytest.raises(kind):
            engine.copy_of({"query": "x"})
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_search_that_fails_by_itself_leaves_the_value_to_python() -> None:
    engine = in_python()
    engine.copy_of({"query": 1})

    def fail(*_: object) -> None:
        raise RecursionError

    engine.copy_untouched = fail
    assert engine.copy_of({"query": "x"}) == {"query": "x"}
