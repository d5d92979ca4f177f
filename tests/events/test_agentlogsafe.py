"""What agentlogsafe 0.2 documents of its sinks works here with the import changed, and nothing else.

Each test is one block of its page "Event sinks", or of the pages beside it, in our words; it runs with
either package, so that it also shows that nothing but the import is different.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import queue
from pathlib import Path
from typing import Any

import pytest

import wakelog

PACKAGES = ["agentlogsafe", "wakelog"]


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def test_a_jsonl_sink_makes_its_directories_and_writes_a_line_an_event(
    package: Any, tmp_path: Path
) -> None:
    path = tmp_path / "var" / "audit" / "agent-events.jsonl"

    log = package.AgentLogger(sink=package.JSONLSink(str(path)))
    log.user_message("hello")
    package.AgentLogger(sink=str(path)).user_message("again")  # the path alone does the same

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2


@pytest.mark.parametrize("durability", ["OS_BUFFERED", "FLUSH", "FSYNC"])
def test_a_jsonl_sink_takes_a_durability_by_member_or_by_name(
    durability: str, package: Any, tmp_path: Path
) -> None:
    level = package.Durability[durability]
    for number, given in enumerate((level, level.value)):
        sink = package.JSONLSink(tmp_path / f"{number}.jsonl", durability=given)
        sink.write(package.AgentEvent(event_type="custom"))
        sink.flush()

        assert sink.durability is level
        assert sink.path == tmp_path / f"{number}.jsonl"


def test_a_memory_sink_keeps_events(package: Any) -> None:
    sink = package.MemorySink()
    log = package.AgentLogger(sink=sink)

    log.user_message("hello")

    assert sink.events[0].event_type == "user_message"
    sink.events.clear()
    sink.flush()


def test_the_null_sink_is_the_default_and_the_event_comes_back(package: Any) -> None:
    log = package.AgentLogger()

    event = log.user_message("hello")

    assert isinstance(log.sink, package.NullSink)
    assert event.payload == {"message": "hello"}
    package.NullSink().write(event)
    package.NullSink().flush()


def test_a_sink_of_ones_own_is_a_class_with_write(package: Any) -> None:
    class QueueSink:
        def __init__(self, into: queue.Queue[dict[str, Any]]) -> None:
            self.queue = into

        def write(self, event: Any) -> None:
            self.queue.put(event.to_dict())

    events: queue.Queue[dict[str, Any]] = queue.Queue()
    sink = QueueSink(events)
    assert isinstance(sink, package.EventSink)

    package.AgentLogger(agent_name="a", sink=sink).tool_call("search", {"q": "x"})

    got = events.get_nowait()
    assert (got["event_type"], got["agent_name"], got["tool_name"]) == ("tool_call", "a", "search")
    assert got["payload"] == {"args": {"q": "x"}}
    assert package.AgentEvent.from_dict(got).to_dict() == got


def test_a_buffer_before_a_file_is_a_context_manager(package: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    with package.BufferedSink(
        package.JSONLSink(path),
        capacity=2048,
        overflow=package.OverflowPolicy.BLOCK,
    ) as sink:
        log = package.AgentLogger(sink=sink)
        log.user_message("hello")
        sink.flush()
        assert len(path.read_text().splitlines()) == 1
        log.user_message("again")

    assert len(path.read_text().splitlines()) == 2
    assert sink.dropped_events == 0
    with pytest.raises(package.SinkError):
        sink.write(package.AgentEvent(event_type="custom"))


@pytest.mark.parametrize("overflow", ["BLOCK", "DROP_NEWEST", "RAISE"])
def test_a_buffer_takes_each_policy_by_member_or_by_name(overflow: str, package: Any) -> None:
    policy = package.OverflowPolicy[overflow]
    for given in (policy, policy.value):
        with package.BufferedSink(package.MemorySink(), 10, given) as sink:
            assert (sink.overflow, sink.capacity) == (policy, 10)
            assert isinstance(sink.sink, package.MemorySink)
    with pytest.raises(ValueError):
        package.BufferedSink(package.MemorySink(), capacity=0)


def test_a_failing_destination_is_heard_of_at_flush_and_at_close(package: Any) -> None:
    class Broken:
        def write(self, event: Any) -> None:
            raise OSError("no")

    for method in ("flush", "close"):
        sink = package.BufferedSink(Broken())
        sink.write(package.AgentEvent(event_type="custom"))
        with pytest.raises(package.SinkError, match="worker failed"):
            getattr(sink, method)()


def test_the_async_sinks_are_awaited_and_closed_by_async_with(package: Any, tmp_path: Path) -> None:
    path, direct = tmp_path / "events.jsonl", tmp_path / "direct.jsonl"

    async def main() -> None:
        event = package.AgentEvent(event_type="custom")
        async with package.AsyncBufferedSink(package.JSONLSink(path)) as sink:
            assert isinstance(sink, package.AsyncEventSink)
            await sink.write(event)
            await sink.flush()
            assert len(path.read_text().splitlines()) == 1
        assert sink.dropped_events == 0
        file = package.AsyncJSONLSink(direct, durability="fsync")
        await file.write(event)
        await file.flush()
        explicit = package.AsyncBufferedSink(package.MemorySink(), capacity=4, overflow="raise")
        await explicit.write(event)
        await explicit.close()
        assert explicit.sink.sink.events == [event]

    asyncio.run(main())

    assert len(direct.read_text().splitlines()) == 1


# --- beside the page -----------------------------------------------------------------------------


def test_events_go_through_logging_with_all_of_them_on_the_record(
    package: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("application.agent_audit")
    caplog.set_level(logging.INFO, logger.name)
    log = package.AgentLogger(sink=package.StructuredLoggingSink(logger))

    event = log.decision("request manual review", requires_human_review=True)

    [record] = caplog.records
    assert (record.getMessage(), record.levelname) == ("agent_event", "INFO")
    said = record.__dict__
    assert said["agent_event"] == event.to_dict()
    assert (said["event_id"], said["run_id"], said["event_type"]) == (
        event.event_id,
        event.run_id,
        "decision",
    )


def test_the_schema_is_a_dict_and_describes_what_to_json_gives(package: Any) -> None:
    from jsonschema import Draft202012Validator

    schema = package.AgentEvent.json_schema()

    Draft202012Validator.check_schema(schema)
    event = package.AgentEvent(event_type="tool_call", tool_name="search", payload={"a": [1, None]})
    Draft202012Validator(schema).validate(json.loads(event.to_json()))


def test_our_events_fit_agentlogsafes_schema_too() -> None:
    from jsonschema import Draft202012Validator, FormatChecker

    theirs = importlib.import_module("agentlogsafe").AgentEvent.json_schema()
    validator = Draft202012Validator(theirs, format_checker=FormatChecker())

    for event_type in wakelog.AgentEvent.STANDARD_EVENT_TYPES:
        validator.validate(wakelog.AgentEvent(event_type).to_dict())


LEFT_OUT = {"AgentLogSafeError", "OpenTelemetrySink"}  # see docs/migrating.md


def test_every_name_of_the_package_is_here_too() -> None:
    theirs = importlib.import_module("agentlogsafe")

    assert set(theirs.__all__) - set(wakelog.__all__) == LEFT_OUT


SINKS = [
    "AsyncBufferedSink", "AsyncJSONLSink", "BufferedSink", "JSONLSink", "MemorySink", "NullSink",
    "StructuredLoggingSink",
]  # fmt: skip


@pytest.mark.parametrize("name", SINKS)
def test_every_call_of_a_sink_takes_the_same_arguments(name: str) -> None:
    theirs = getattr(importlib.import_module("agentlogsafe"), name)
    ours = getattr(wakelog, name)

    for method, function in inspect.getmembers(theirs, inspect.isfunction):
        if method.startswith("_") and method not in ("__init__", "__enter__", "__aenter__"):
            continue
        expected = [p.name for p in inspect.signature(function).parameters.values()]
        mine = inspect.signature(getattr(ours, method)).parameters
        assert list(mine)[: len(expected)] == expected, method
        rest = list(mine.values())[len(expected) :]
        assert all(p.default is not p.empty for p in rest), method
