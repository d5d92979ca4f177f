"""``LogEntry`` answers as the pydantic model of the known session logger does."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Literal

import pydantic
import pytest

from wakelog import ConfigurationError
from wakelog.streams import LogEntry


class Model(pydantic.BaseModel):
    """What the design's page states, as a pydantic model, to compare with."""

    session_id: str = ""
    message: str
    timestamp: str | None = None
    log_type: Literal["chat", "log"] = "chat"


GIVEN: dict[str, Any] = {"session_id": "s", "message": "é<think>", "timestamp": "2026-01-01"}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"mode": "json"},
    {"include": {"message"}},
    {"include": ["message", "log_type"], "exclude": {"log_type"}},
    {"exclude": {"session_id"}},
    {"exclude": {"session_id": True, "message": False}},
    {"exclude_unset": True},
    {"exclude_defaults": True},
    {"exclude_none": True},
    {"by_alias": True, "round_trip": True, "warnings": False, "serialize_as_any": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_dumps_are_those_of_the_model(options: dict[str, Any]) -> None:
    ours, theirs = LogEntry(**GIVEN), Model(**GIVEN)

    if not isinstance(options.get("include"), list):  # which pydantic takes no lists for
        assert ours.model_dump(**options) == theirs.model_dump(**options)
        if "mode" not in options:
            assert ours.model_dump_json(**options) == theirs.model_dump_json(**options)
    assert ours.model_dump_json(indent=2) == theirs.model_dump_json(indent=2)
    assert dict(ours) == dict(theirs)


def test_the_schema_is_that_of_the_model() -> None:
    ours, theirs = LogEntry.model_json_schema(), Model.model_json_schema()

    assert ours.pop("description") != theirs.pop("description")
    assert ours.pop("title") == "LogEntry"
    assert theirs.pop("title") == "Model"
    assert ours == theirs
    assert LogEntry.model_json_schema(by_alias=False, mode="serialization") is not ours


def test_an_entry_is_made_of_plain_data_of_json_and_of_an_object() -> None:
    entry = LogEntry(**GIVEN)

    assert LogEntry.model_validate({**GIVEN, "more": 1}) == entry
    assert LogEntry.model_validate(entry.model_dump()) == entry
    assert LogEntry.model_validate(entry) is entry
    assert LogEntry.model_validate_json(entry.model_dump_json()) == entry
    assert LogEntry.model_validate(SimpleNamespace(**GIVEN), from_attributes=True) == entry
    assert LogEntry.model_validate(GIVEN, strict=True).model_fields_set == set(GIVEN)
    assert pickle.loads(pickle.dumps(entry)) == entry


@pytest.mark.parametrize(
    "wrong", [{}, {"message": 7}, {"message": "", "log_type": "x"}, 7, [], None]
)
def test_what_is_no_entry_is_refused_as_the_model_refuses_it(wrong: Any) -> None:
    with pytest.raises(ValueError):
        Model.model_validate(wrong)
    with pytest.raises(ConfigurationError):
        LogEntry.model_validate(wrong)
    with pytest.raises(ConfigurationError):
        LogEntry.model_validate_json(json.dumps(wrong))
    with pytest.raises(ConfigurationError, match="json_data"):
        LogEntry.model_validate_json("{")


def test_a_call_passes_over_what_it_does_not_know_and_misses_what_it_needs() -> None:
    more: dict[str, Any] = {**GIVEN, "more": 1}

    assert LogEntry(**more) == LogEntry(**GIVEN)
    assert LogEntry(**more).model_dump() == Model(**more).model_dump()
    assert not hasattr(LogEntry(**more), "more")
    with pytest.raises(ConfigurationError, match="message is missing"):
        LogEntry(session_id="s")


def test_a_copy_has_what_was_changed_and_keeps_the_rest() -> None:
    entry = LogEntry(message="x")

    copy = entry.model_copy(update={"session_id": "s"}, deep=True)

    assert (copy.session_id, copy.message, copy.timestamp) == ("s", "x", entry.timestamp)
    assert entry.session_id == ""
    assert entry.model_copy() == entry
    assert entry.model_copy() is not entry
    assert copy.model_dump(exclude_unset=True) == {"session_id": "s", "message": "x"}
    with pytest.raises(ConfigurationError, match="message=7"):
        entry.model_copy(update={"message": 7})


def test_no_pydantic_is_needed() -> None:
    program = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from wakelog.streams import LogEntry\n"
        "e = LogEntry.model_validate({'message': 'x'}).model_copy(update={'session_id': 's'})\n"
        "print(e.model_dump(exclude={'timestamp'}), LogEntry.model_json_schema()['title'])\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "{'session_id': 's', 'message': 'x', 'log_type': 'chat'} LogEntry\n"
