"""The calls of the known session logger do what they did, without what made them hard to live with."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from wakelog.errors import WakelogError
from wakelog.logger import AgentLogger
from wakelog.sinks import MemorySink
from wakelog.streams import (
    SPECIAL_END_TOKENS,
    SPECIAL_TOKENS,
    LogEntry,
    Logger,
    default_stream_handler,
)

SECONDS = 60


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[Logger]:
    made = Logger(logs_dir=tmp_path / "logs")
    yield made
    made.close()


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


async def say(logger: Logger, session_id: str, *messages: str) -> None:
    for message in messages:
        await logger.log_chunk_to_queue(message, session_id)


async def up_to(messages: AsyncGenerator[str, None], last: str) -> list[str]:
    heard = []
    async for message in messages:
        heard.append(message)
        if message == last:
            break
    return heard


async def some(messages: AsyncGenerator[str, None], count: int) -> list[str]:
    return [await anext(messages) for _ in range(count)]


# Entries and tokens


def test_an_entry_has_a_time_of_its_own_and_comes_out_as_json() -> None:
    entry = LogEntry(session_id="s", message="hello")
    given = LogEntry(message="x", timestamp="2026-01-01T00:00:00", log_type="log")

    assert entry.timestamp is not None
    assert datetime.fromisoformat(entry.timestamp).tzinfo is not None
    assert entry.log_type == "chat"
    assert json.loads(entry.model_dump_json(indent=2)) == entry.model_dump()
    assert (given.session_id, given.timestamp) == ("", "2026-01-01T00:00:00")


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": "x", "log_type": "audit"},
        {"message": 7},
        {"message": "x", "session_id": None},
        {"message": "x", "timestamp": 12.5},
    ],
)
def test_an_entry_of_anything_else_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is not known: use chat or log|is not text") as caught:
        LogEntry(**wrong)
    assert isinstance(caught.value, WakelogError)


def test_the_handler_prints_text_and_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    for message in [
        "<start>",
        "<think>",
        "hm",
        "</think>",
        "to ",
        "",
        "Lisbon",
        "<tool>",
        "</end>",
    ]:
        shown = default_stream_handler(message)
        assert shown == (None if message in SPECIAL_TOKENS else message)

    assert capsys.readouterr().out == "hm\nto Lisbon\n"
    assert SPECIAL_END_TOKENS == ["</end>", "</think>"]


# The calls


def test_the_calls_are_what_they_were() -> None:
    for name in ("log_chunk_to_queue", "distribute"):
        assert inspect.iscoroutinefunction(getattr(Logger, name))
    assert list(inspect.signature(Logger.pop).parameters) == ["self", "session_id", "poll_interval"]
    assert not inspect.iscoroutinefunction(Logger.get_all_logs_in_queue)


def test_a_message_is_printed_listed_and_read(
    logger: Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    async def session() -> list[str]:
        await say(logger, "s", "<start>", "to ", "Lisbon", "</end>")
        await logger.distribute(finite=True)
        return await some(logger.get_session_logs("s", timeout=SECONDS), 4)

    assert run(session()) == ["<start>", "to ", "Lisbon", "</end>"]
    assert capsys.readouterr().out == "to Lisbon\n"
    entries = logger.get_all_logs_in_queue()
    assert [(e.session_id, e.message) for e in entries] == [
        ("s", m) for m in ("<start>", "to ", "Lisbon", "</end>")
    ]
    assert all(datetime.fromisoformat(e.timestamp or "") for e in entries)
    assert logger.all_sessions_in_queue == ["s"]
    assert logger.all_sessions_in_queues == ["s"]
    assert list((logger.logs_dir).glob("*/*.jsonl"))


def test_two_readers_of_a_session_each_see_everything(logger: Logger) -> None:
    async def session() -> None:
        await say(logger, "s", "<start>", "one ", "</end>")
        messages = ["<start>", "one ", "</end>"]

        async def follow() -> list[str]:
            return await some(logger.get_session_logs("s"), 3)

        heard = await asyncio.gather(follow(), follow(), follow())
        assert list(heard) == [messages] * 3

    run(session())


def test_each_turn_of_a_chat_sees_its_own_messages(logger: Logger) -> None:
    async def session() -> None:
        for turn in ("one", "two", "three"):
            speaking = asyncio.create_task(say(logger, "s", "<start>", turn, "</end>"))
            kept = logger.get_session_logs("s")  # the reader of the turn before is still there
            assert await up_to(kept, "</end>") == ["<start>", turn, "</end>"]
            await speaking

    run(session())


def test_a_reader_can_ask_for_all_that_is_kept_from_another_life(tmp_path: Path) -> None:
    async def session() -> None:
        before = Logger(tmp_path)
        await say(before, "s", "old")
        before.close()
        now = Logger(tmp_path)
        await say(now, "s", "new")
        assert await up_to(now.get_session_logs("s", from_start=True), "new") == ["old", "new"]
        assert await up_to(now.get_session_logs("s"), "new") == ["new"]
        now.close()

    run(session())


def test_pop_ends_with_the_end_of_reasoning(logger: Logger) -> None:
    async def session() -> None:
        await say(logger, "s", "Message 1", "Message 2 </think>", "Message 3")
        assert [m async for m in logger.pop("s")] == ["Message 1", "Message 2 </think>"]
        await say(logger, "s", "<start>", "<think>", "hm", "</think>", "done", "</end>")
        heard = [m async for m in logger.pop("s")]
        assert heard == ["Message 3", "<start>", "<think>", "hm", "</think>"]

    run(session())


def test_pop_among_foreign_messages_leaves_the_loop_free(logger: Logger) -> None:
    async def session() -> list[str]:
        for number in range(50):
            await say(logger, "other", f"{number}")
        heard: list[str] = []

        async def pop() -> None:
            heard.extend([m async for m in logger.pop("mine")])

        popping = asyncio.create_task(pop())
        began, busy = time.monotonic(), time.thread_time()
        for _ in range(100):
            await asyncio.sleep(0.001)
        busy = time.thread_time() - busy
        assert busy < 0.9 * (time.monotonic() - began)  # it was not spinning
        assert not popping.done()
        await say(logger, "mine", "hm</think>")
        await popping
        return heard

    assert run(session()) == ["hm</think>"]


def test_distribute_returns_when_it_is_finite_and_can_be_cancelled(logger: Logger) -> None:
    async def session() -> None:
        await logger.distribute(finite=True)
        forever = asyncio.create_task(logger.distribute())
        await asyncio.sleep(0.01)
        assert not forever.done()
        forever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forever

    run(session())


def test_a_time_out_ends_the_messages_even_while_they_come(logger: Logger) -> None:
    async def session() -> None:
        stop = asyncio.Event()

        async def chatter() -> None:
            while not stop.is_set():
                await say(logger, "s", "x")
                await asyncio.sleep(0.005)

        talking = asyncio.create_task(chatter())
        heard = [m async for m in logger.get_session_logs("s", timeout=0.1)]
        stop.set()
        await talking
        assert set(heard) <= {"x"}

    run(session())


def test_one_logger_serves_one_event_loop_after_the_other(logger: Logger) -> None:
    for number in range(3):
        run(say(logger, "s", f"{number}"))
        assert run(up_to(logger.get_session_logs("s"), f"{number}")) == [f"{number}"]


def test_who_read_up_to_where_is_forgotten_for_sessions_long_past(
    logger: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["wakelog.streams._logger"], "_REMEMBERED", 4)

    async def session() -> None:
        for number in range(30):
            await say(logger, f"s-{number}", "old")
            await up_to(logger.get_session_logs(f"s-{number}"), "old")
        assert len(logger._readers) <= 12
        await say(logger, "s-0", "new")
        assert ("logs", "s-0") not in logger._readers
        assert await up_to(logger.get_session_logs("s-0"), "new") == ["new"]

    run(session())


def test_the_message_of_a_stream_is_exported_joined(tmp_path: Path) -> None:
    sink = MemorySink()
    logger = Logger(tmp_path, log=AgentLogger(sink=sink), stream_handler=lambda _: None)

    run(say(logger, "s", "<start>", "<think>", "hm", "</think>", "to ", "Lisbon", "</end>"))
    logger.close()

    (event,) = sink.events
    assert event.payload["message"] == "to Lisbon"
    assert event.payload["reasoning"] == "hm"
    assert event.status == "success"


def test_a_stream_that_begins_anew_ends_the_one_before(logger: Logger) -> None:
    async def session() -> list[str]:
        await say(logger, "s", "<start>", "half", "<start>", "whole", "</end>")
        return await some(logger.get_session_logs("s"), 6)

    assert run(session()) == ["<start>", "half", "</end>", "<start>", "whole", "</end>"]


# Leaving the application alone


def test_importing_and_making_one_leaves_files_logging_and_asyncio_alone(tmp_path: Path) -> None:
    program = """
import asyncio, logging, os, sys, threading, warnings
before = (logging.root.handlers[:], logging.root.level, asyncio.get_event_loop_policy,
          threading.active_count(), sys.excepthook, warnings.filters[:])
import wakelog.streams
from wakelog.streams import Logger, _logger
Logger()
after = (logging.root.handlers[:], logging.root.level, asyncio.get_event_loop_policy,
         threading.active_count(), sys.excepthook, warnings.filters[:])
assert before == after, (before, after)
assert os.listdir() == []
assert not {"loguru", "starlette", "opentelemetry.sdk"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_logging_through_it_adds_no_handler(logger: Logger) -> None:
    before = logging.root.handlers[:]

    run(say(logger, "s", "x"))

    assert logging.root.handlers == before


def test_the_directory_is_the_argument_else_the_variable_else_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOGS_PATH", raising=False)
    assert Logger().logs_dir == Path.cwd() / "logs"
    monkeypatch.setenv("LOGS_PATH", str(tmp_path))
    assert Logger().logs_dir == tmp_path
    assert Logger("mine").logs_dir == Path.cwd() / "mine"


# To the letter


LONG = 65_536


@pytest.mark.parametrize(
    "before", [0, 1, LONG - 8, *range(LONG - 7, LONG + 1), 2 * LONG - 3, 200_000]
)
def test_a_long_message_is_one_entry_and_pop_ends_with_it(before: int, logger: Logger) -> None:
    message = "x" * before + "</think>" + "y" * LONG

    async def session() -> None:
        await say(logger, "s", message, "after")
        assert [m async for m in logger.pop("s")] == [message]
        assert await some(logger.get_session_logs("s"), 2) == [message, "after"]

    run(session())
    assert [entry.message for entry in logger.get_all_logs_in_queue()] == [message, "after"]


@pytest.mark.parametrize("cut", range(1, len("</think>")))
def test_pop_ends_where_messages_cut_the_token_in_two(cut: int, logger: Logger) -> None:
    token = "</think>"
    pieces = ["a " + token[:cut], token[cut:] + " b"]

    async def session() -> None:
        await say(logger, "s", *pieces, "after")
        assert [m async for m in logger.pop("s")] == pieces
        assert [m async for m in logger.get_session_logs("s", timeout=0.05)] == [*pieces, "after"]

    run(session())


def test_long_messages_of_several_threads_do_not_mix(logger: Logger) -> None:
    messages = [str(number) * (3 * LONG) for number in range(8)]

    async def session() -> list[str]:
        await asyncio.gather(
            *(asyncio.to_thread(asyncio.run, say(logger, "s", message)) for message in messages)
        )
        return await some(logger.get_session_logs("s"), 8)

    assert sorted(run(session())) == messages


def test_a_long_message_that_was_refused_midway_is_left_out(
    logger: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wakelog.errors import JournalError

    async def session() -> list[str]:
        await say(logger, "s", "before")
        journal = logger.streams.journal
        assert journal is not None
        write, calls = journal.write, iter([True, False])

        def full(*arguments: Any) -> Any:
            if next(calls, True):
                return write(*arguments)
            raise JournalError("write to", "there", "No space left on device")

        monkeypatch.setattr(journal, "write", full)
        with pytest.raises(JournalError):
            await say(logger, "s", "x" * (3 * LONG))
        await say(logger, "s", "after")
        return await some(logger.get_session_logs("s"), 2)

    assert run(session()) == ["before", "after"]
    assert [entry.message for entry in logger.get_all_logs_in_queue()] == ["before", "after"]


def test_who_goes_on_after_a_reader_that_ended_in_a_long_message_gets_it_whole(
    logger: Logger,
) -> None:
    message = "x" * (3 * LONG)

    async def session() -> None:
        await say(logger, "s", "first", message, "last")
        kept = logger.get_session_logs("s")
        assert await anext(kept) == "first"
        (following,) = logger._readers["logs", "s"].following
        assert (
            await anext(following.reader, None) is not None
        )  # as if it were cancelled after a part
        part = following.reader
        following._amid = type(following.reached)(1, part.position_before_last)
        await kept.aclose()
        assert await some(logger.get_session_logs("s"), 2) == [message, "last"]

    run(session())


def test_the_logger_of_a_logger_is_there_and_touches_nothing(
    logger: Logger, caplog: pytest.LogCaptureFixture
) -> None:
    from wakelog.streams import _logger

    before = logging.root.handlers[:], logging.root.level

    with caplog.at_level(logging.INFO):
        logger.logger.info("ready")
        _logger.logger.error("failed: %s", "why")

    assert caplog.messages == ["ready", "failed: why"]
    assert (logging.root.handlers[:], logging.root.level) == before
    assert logger.logger.handlers == []
    assert "loguru" not in type(logger.logger).__module__


def test_errors_name_the_arguments_of_the_class_that_was_called(tmp_path: Path) -> None:
    from wakelog import ConfigurationError, JournalError
    from wakelog.streams import SessionStreams

    file = tmp_path / "file"
    file.write_text("")

    with pytest.raises(JournalError, match=r"logs_dir= or LOGS_PATH") as caught:
        run(Logger(file).log_chunk_to_queue("x", "s"))
    assert "WAKELOG_DIR" not in str(caught.value)
    with pytest.raises(JournalError, match=r"logs_dir= or LOGS_PATH"):
        Logger(file).get_session_logs("s")
    with pytest.raises(JournalError, match=r"another directory with directory=$"):
        SessionStreams(file).write("s", "x")
    for newer in (tmp_path / "newer",):
        newer.mkdir()
        (newer / "wakelog.json").write_text('{"wakelog":"journal","format":99}')
        with pytest.raises(JournalError, match=r"logs_dir= or LOGS_PATH"):
            Logger(newer).get_session_logs("s")
    with pytest.raises(ConfigurationError, match="session_id=7"):
        Logger(tmp_path).pop(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="after=7"):
        SessionStreams(tmp_path).read("s", after=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="durability='bogus'"):
        SessionStreams(tmp_path, durability="bogus")
