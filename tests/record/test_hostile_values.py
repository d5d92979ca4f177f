"""Whatever a value is, its event is recorded, and the caller is not held up by it."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.attack import SEED, times
from tests.support.generated_values import SHAPES, Recipe, made
from wakelog import AgentLogger
from wakelog.errors import EventTooLargeError
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import from_line, kept, to_line
from wakelog.record._values import MAX_NODES, MAX_REPEATED, is_json
from wakelog.redaction import redact
from wakelog.sinks import JSONLSink


class Endless(Mapping[str, Any]):
    """A mapping that never ends, as those in it."""

    def __init__(self, names: str) -> None:
        self.names = names
        self.asked = 0

    def __getitem__(self, key: str) -> Any:
        self.asked += 1
        return Endless(self.names) if self.names == "nested" else 1

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield "same" if self.names == "same" else f"name{number}"
            number += 1

    def __len__(self) -> int:
        return 1 << 40


def steps(do: Any, value: Any) -> int:
    """Count the functions that are called, in Python and in C: a measure that no other program changes."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        do(value)
    finally:
        sys.setprofile(None)
    return count


def nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(nodes, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return 1 + sum(map(nodes, value))
    return 1


@pytest.mark.attack
def test_generated_values_are_recorded_and_cost_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Smaller bounds, so that what is shared a million times is no more than the others.
    for name, bound in (
        ("MAX_NODES", 20_000),
        ("MAX_TEXT", 500_000),
        ("MAX_REPEATED", 100_000),
        ("_MOST_ITEMS", 100_000),
    ):
        monkeypatch.setattr(f"wakelog.record._values.{name}", bound)
    chance = random.Random(SEED)
    sink = JSONLSink(tmp_path / "events.jsonl")
    log = AgentLogger(sink=sink)
    tried = times(1000)
    for number in range(tried):
        recipe = Recipe.by(chance)
        value, _ = made(recipe, 8_000)
        with suppress(EventTooLargeError):  # then there is a stub of it
            log.emit("custom", {"v": value})
        if number % 5 or recipe.shape == "shared":  # which is as large at any size
            continue
        twice, _ = made(recipe, 16_000)
        grown = max(2.0, nodes(twice) / nodes(value), len(repr(twice)) / len(repr(value)))
        redact(twice)  # so that both meet the same caches
        for do in (to_line, redact, kept):
            once, more = steps(do, value), steps(do, twice)
            # Where the larger one leaves a fast path it costs some steps a node, and no more.
            most = 1.3 * grown * once + 2_000 + 16 * nodes(twice)
            assert more <= most, (recipe, do.__name__, once, more)
    sink.close()
    assert len(list(read(tmp_path / "events.jsonl"))) == tried


@pytest.mark.parametrize("shape", SHAPES)
def test_values_of_each_shape_are_recorded_whole_at_this_size(tmp_path: Path, shape: str):
    value, _ = made(Recipe(shape, ("word ",), 40, 5), 20_000)
    sink = JSONLSink(tmp_path / "events.jsonl")
    AgentLogger(sink=sink).emit("custom", {"v": value})
    sink.close()

    [entry] = read(tmp_path / "events.jsonl")
    assert "left out" not in str(entry.record.body) + str(entry.record.attributes)


@pytest.mark.parametrize("names", ["new", "same", "nested"])
def test_a_mapping_that_never_ends_is_asked_a_bounded_number_of_times(names: str):
    mapping = Endless(names)

    copy = kept({"v": mapping})
    assert mapping.asked <= 100_000
    assert nodes(copy) <= MAX_NODES + 100_000 + 10
    assert steps(kept, {"v": Endless(names)}) < 20_000_000


WIDE = list(range(100_000))
TEXT = "x" * 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        [WIDE] * 5_000,
        [dict.fromkeys(WIDE)] * 5_000,
        [OrderedDict.fromkeys(WIDE)] * 5_000,
        [frozenset(WIDE)] * 5_000,
        [tuple(WIDE)] * 5_000,
        dict.fromkeys(range(50000), WIDE),
    ],
    ids=["lists", "dicts", "subclasses", "sets", "tuples", "values"],
)
def test_what_is_shared_costs_as_often_as_there_is_room_for_it(value: Any):
    for do in (kept, to_line):
        found = do(value)
        assert nodes(found) <= MAX_NODES + 5_000 + 10
        assert "more left out" in str(found)[-300:]
    assert not is_json(value)


def test_a_text_that_is_shared_counts_as_often_as_it_stands_there():
    value = {"texts": [TEXT] * 10_000, "bytes": [TEXT.encode()] * 10_000}

    for do in (kept, to_line):
        found: Any = do(value)
        whole = sum(len(one) for one in found["texts"] if len(one) == len(TEXT))
        assert whole <= MAX_REPEATED + len(TEXT) < whole + 2 * len(TEXT)
        assert found["texts"][-1] == f"[wakelog: {len(TEXT)} more of str left out]"
        assert found["bytes"][-1] == f"[wakelog: {len(TEXT)} more of bytes left out]"
    assert not is_json(value)


def test_of_each_text_one_is_there_however_often_another_is_shared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wakelog.record._values.MAX_REPEATED", 200)
    one, other = "x" * 100, "y" * 100
    left_out = "[wakelog: 100 more of str left out]"

    found: Any = to_line([one] * 5 + [other, other, b"y" * 100])

    assert found == [*[one] * 3, left_out, left_out, other, left_out, found[-1]]
    assert from_line(found[-1]) == b"y" * 100


@pytest.mark.parametrize(
    "text",
    ["password=hunter2 and so on " * 1_000, "hunter2@example.org\xa0" * 2],
    ids=["long", "short"],
)
def test_a_text_is_redacted_once_however_often_it_stands_there(text: str):
    once, often = (steps(redact, [text] * count) for count in (1, 1_000))
    assert often < once + 20_000
    assert "hunter2" not in str(redact([text, {"a": text}, (text,)]))


def test_a_clean_text_that_stands_in_many_lists_is_searched_once():
    searched = 0

    def count(frame: Any, event: str, called: Any) -> None:
        nonlocal searched
        searched += event == "c_call" and getattr(called, "__name__", "") == "search"

    value = [["," * 40] * 100] * 100
    sys.setprofile(count)
    try:
        redact(value)
    finally:
        sys.setprofile(None)
    assert searched < 10


def test_lone_surrogates_of_a_text_are_replaced_once_however_often_it_stands_there():
    text = "a\ud800" * 10_000

    once, often = (steps(to_line, [text] * count) for count in (1, 1_000))
    assert often < once + 20_000
    assert to_line([text, text]) == ["a\ufffd" * 10_000] * 2


def test_characters_that_take_more_bytes_take_more_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wakelog.record._values.MAX_TEXT", 3_020)
    found: Any = to_line(["\ud800" * 1_000, "\u00e9" * 10, "x"])
    assert found == ["\ufffd" * 1_000, "\u00e9" * 10, "[wakelog: 1 more of str left out]"]


@given(
    st.text(
        st.sampled_from(
            ["\ud83d", "\udbff", "\ude00", "\udfff", "a", "\u00e9", '"', "\\", "\0", "\U0001f600"]
        )
    )
)
def test_surrogates_are_joined_and_replaced_as_a_codec_does(text: str):
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert to_line(text) == expected


def test_other_peoples_records_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from opentelemetry._logs import LogRecord
    from opentelemetry.sdk._logs import LoggerProvider

    monkeypatch.setattr("wakelog.record._values.MAX_TEXT", 3 * len(TEXT))
    monkeypatch.setenv("WAKELOG_MAX_EVENT_BYTES", "2000000")
    provider = LoggerProvider()
    provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=tmp_path / "j"))
    body: Any = [TEXT] * 100_000
    provider.get_logger("others").emit(LogRecord(body=body, event_name="x"))
    provider.shutdown()

    [entry] = read(tmp_path / "j")
    assert entry.record.attributes["wakelog.too_large.bytes"] > 2_000_000


def test_an_object_that_is_shared_is_opened_once():
    class Model:
        asked = 0

        def __str__(self) -> str:
            return "model"

    class Held(dict[str, Any]):
        pass

    held = Held(a=Model())
    found: Any = to_line([held] * 1_000)
    assert found == [{"a": "model"}] * 1_000
