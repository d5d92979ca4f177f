"""The gateway's local side: what is written, where, and what never goes wrong there."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from tests.support.appending import in_place_of_the_system
from tests.support.faults import with_calls
from wakelog import (
    AgentEvent,
    RedactionConfig,
    RedactionStrategy,
    RegexDetector,
    SinkError,
    WakelogError,
)
from wakelog.cli import main
from wakelog.cli._follow import follow
from wakelog.errors import ConfigurationError, RedactionError
from wakelog.gateway import (
    EventSessionLogger,
    EventSessionLoggerError,
    LocalLoggingError,
    NullTransport,
    SerializationError,
    TransportConnectionError,
    TransportError,
    TransportTimeoutError,
    create_backward_compatible,
    create_from_environment,
    create_logging_only,
    create_session_logger,
    create_with_callback,
    create_with_transport,
    migrate_from_session_logger,
)
from wakelog.journal import Entry, read
from wakelog.record import verify
from wakelog.runtime import FileSystem
from wakelog.runtime._filesystem import SYSTEM

HOSTILE = [
    "..",
    ".",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a_b",
    "nul\0byte",
    "x" * 4096,
    "x" * 4095,
    "😀",
    "😁",
    "CON",
    "con",
    "con.txt",
    "LPT1",
    "Session",
    "session",
    "SESSION",
    "trailing.",
    "trailing",
    "trailing ",
    " trailing",
    "new\nline",
    "C:\\temp",
    "c:temp",
    "~",
    "-rf",
    ".hidden",
    ".wakelog",
    "\ud83d",
    "é",
    "e\u0301",
    "{session_id}",
    "%s%n",
    "a..b",
]


def log_all(logger: EventSessionLogger, *events: object) -> list[bool]:
    async def run() -> list[bool]:
        async with logger:
            return [await logger(event) for event in events]

    return asyncio.run(run())


def lines_of(directory: Path) -> list[dict[str, Any]]:
    found = sorted(directory.glob("*.jsonl"))
    return [json.loads(line) for file in found for line in file.read_bytes().splitlines()]


def test_an_event_is_in_its_sessions_file_when_the_await_returns(tmp_path: Path) -> None:
    async def run() -> None:
        logger = EventSessionLogger(tmp_path)
        assert await logger({"session_id": "s-1", "message": "hello"}) is True
        path = logger.get_log_file_path("s-1")
        assert path is not None
        assert path.parent == tmp_path / "s-1" == logger.get_session_directory("s-1")
        assert re.fullmatch(r"\d{8}_\d{6}\.jsonl", path.name)
        line = json.loads(path.read_bytes())
        assert line["event"] == {"session_id": "s-1", "message": "hello"}
        assert line["timestamp"].endswith("Z")
        assert {"id", "seq", "crc"} <= set(line)
        await logger.close()

    asyncio.run(run())


def test_a_session_stays_in_one_file_and_its_lines_are_a_chain(tmp_path: Path) -> None:
    log_all(EventSessionLogger(tmp_path), *({"session_id": "s", "n": n} for n in range(50)))

    (file,) = (tmp_path / "s").glob("*.jsonl")
    crc: int | None = 0
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        assert crc is not None
        crc = verify(line, crc)
        assert crc is not None, "a checksum does not match"
        assert json.loads(line)["seq"] == number
    records = [entry.record for entry in read(file)]
    assert [record.body["n"] for record in records] == list(range(50))  # type: ignore[index]
    assert {r.attributes["gen_ai.conversation.id"] for r in records} == {"s"}


@pytest.mark.parametrize("pattern", ["{session_id}", "agents/run_{session_id}.d"])
def test_hostile_ids_get_one_directory_each_inside_the_base(tmp_path: Path, pattern: str) -> None:
    base = tmp_path / "base"
    logger = EventSessionLogger(base, session_directory_pattern=pattern)

    log_all(logger, *({"session_id": hostile, "n": n} for n, hostile in enumerate(HOSTILE)))

    directories = [logger.get_session_directory(hostile) for hostile in HOSTILE]
    folded = {os.path.normcase(str(d)).casefold() for d in directories}
    assert len(folded) == len(HOSTILE), "two ids share a directory"
    for number, directory in enumerate(directories):
        assert directory.resolve().is_relative_to(base.resolve())
        (line,) = lines_of(directory)
        assert line["event"]["n"] == number
    assert {path.name for path in tmp_path.iterdir()} == {"base"}


def test_readable_ids_stay_readable(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path)
    for plain in ("s-1", "user_42", "2026.11.21", "0af7651916cd43dd8448eb211c80319c"):
        assert logger.get_session_directory(plain).name == plain
    assert logger.get_session_directory("a/b").name.startswith("a_b~")
    assert logger.get_session_directory("Ann").name.startswith("Ann~")


def test_the_session_is_the_users_then_the_sessions_then_the_unknown_one(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path)

    log_all(
        logger,
        {"user_session_id": "u", "session_id": "s"},
        {"user_session_id": "", "session_id": "s"},
        {"session_id": 7},
        {"message": "nobody's"},
        "also nobody's",
    )

    names = {path.name for path in tmp_path.iterdir()}
    (unknown,) = names - {"u", "s", "7"}
    assert unknown.startswith("unknown_")
    assert len(lines_of(tmp_path / unknown)) == 2
    assert logger.get_session_directory() == tmp_path / unknown


class Model(pydantic.BaseModel):
    session_id: str
    text: str


@dataclasses.dataclass
class Data:
    session_id: str
    text: str


class Anything:
    def __init__(self) -> None:
        self.session_id, self.text, self._private = "s", "hi", object()


class Broken:
    session_id = "s"

    def model_dump(self) -> dict[str, Any]:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_whatever_comes_in_a_line_comes_out(tmp_path: Path) -> None:
    cycle: dict[str, Any] = {"session_id": "s", "text": "hi"}
    cycle["self"] = cycle
    events: list[object] = [
        {"session_id": "s", "text": "hi"},
        Model(session_id="s", text="hi"),
        Data("s", "hi"),
        Anything(),
        '{"session_id": "s", "text": "hi"}',
        b'{"session_id": "s", "text": "hi"}',
        SimpleNamespace(session_id="s", text="hi"),
        cycle,
        {"session_id": "s", "text": "hi", "x": [float("nan"), 2**70, b"\0", "\ud83d", {1, 2}]},
        AgentEvent("custom", session_id="s", payload={"text": "hi"}),
    ]
    odd: list[object] = [Broken(), None, 3, [1, 2], "no JSON", b"\xff", Model, object()]

    assert all(log_all(EventSessionLogger(tmp_path), *events, *odd))

    written = [line["event"] for line in lines_of(tmp_path / "s")]
    assert len(written) == len(events)
    assert all(event.get("text") == "hi" for event in written[:-1])
    (file,) = (tmp_path / "s").glob("*.jsonl")
    bodies: list[Any] = [entry.record.body for entry in read(file)]
    assert bodies[8]["x"][0] != bodies[8]["x"][0]
    assert bodies[8]["x"][1:3] == [str(2**70), b"\0"]
    (unknown,) = tmp_path.glob("unknown_*")
    assert len(lines_of(unknown)) == len(odd)


def test_what_could_not_be_written_raises_and_says_why(tmp_path: Path) -> None:
    seen: list[tuple[Exception, str]] = []
    (tmp_path / "file").write_text("in the way")
    logger = EventSessionLogger(tmp_path / "file", error_handler=lambda e, o: seen.append((e, o)))
    event = {"session_id": "s"}

    with pytest.raises(LocalLoggingError, match="file") as raised:
        asyncio.run(logger(event))

    assert seen == [(raised.value, "local_logging: an event of type dict")]
    assert logger.stats().local_errors == 1
    assert isinstance(raised.value, SinkError)


def test_an_event_too_large_for_a_line_is_whole_beside_it_and_a_larger_one_leaves_a_stub(
    tmp_path: Path,
) -> None:
    logger = EventSessionLogger(tmp_path, max_line_bytes=4096, max_event_bytes=20_000)

    async def run() -> None:
        assert await logger({"session_id": "s", "text": "x" * 10_000})
        with pytest.raises(LocalLoggingError) as raised:
            await logger({"session_id": "s", "numbers": list(range(10_000))})
        assert isinstance(raised.value.__cause__, SerializationError)
        await logger.close()

    asyncio.run(run())

    line, stub = lines_of(tmp_path / "s")
    assert line["event"]["$wakelog"] == "blob"
    assert stub["attributes"]["wakelog.too_large.bytes"] > 40_000
    (file,) = (tmp_path / "s").glob("*.jsonl")
    event, left = (entry.record for entry in read(file))
    assert event.body == {"session_id": "s", "text": "x" * 10_000}
    assert left.attributes["gen_ai.conversation.id"] == "s"


def test_secrets_are_out_before_anything_is_written_unless_asked_for(tmp_path: Path) -> None:
    event = {"session_id": "ann@example.com", "text": "write to bob@example.com", "password": "x1"}
    log_all(EventSessionLogger(tmp_path / "a"), event)
    log_all(EventSessionLogger(tmp_path / "b", redact_payloads=False), event)

    (redacted,) = (tmp_path / "a").glob("*/*.jsonl")
    assert b"bob@example.com" not in redacted.read_bytes()
    assert b"x1" not in redacted.read_bytes()
    assert json.loads(redacted.read_bytes())["event"]["session_id"] == "ann@example.com"
    (kept,) = (tmp_path / "b").glob("*/*.jsonl")
    assert json.loads(kept.read_bytes())["event"] == event


def test_a_detector_that_fails_costs_the_event_and_not_its_privacy(tmp_path: Path) -> None:
    class Failing(RegexDetector):
        def redact(self, value: str, strategy: RedactionStrategy) -> str:
            raise RuntimeError("no")

    config = RedactionConfig(detectors=(Failing("x", re.compile("x")),))
    logger = EventSessionLogger(tmp_path, redaction_config=config)

    with pytest.raises(LocalLoggingError) as raised:
        asyncio.run(logger({"session_id": "s", "text": "x"}))

    assert isinstance(raised.value.__cause__, RedactionError)
    assert not list(tmp_path.rglob("*.jsonl"))


PROMPT = "you are a pirate"


@pytest.mark.parametrize(
    "event",
    [
        {"system_prompt": PROMPT},
        {"systemPrompt": PROMPT},
        {"request": {"system_instructions": [{"type": "text", "content": PROMPT}]}},
        {"attributes": {"gen_ai.system_instructions": PROMPT}},
        {"messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": "hi"}]},
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": PROMPT}]}]},
        {"system": PROMPT, "messages": []},
        {"instructions": PROMPT, "input": "hi"},
        {"gen_ai.input.messages": json.dumps([{"role": "system", "parts": [PROMPT]}])},
        {"role": "system", "content": PROMPT},
        AgentEvent("system_instruction", payload={"instruction": PROMPT}, session_id="s"),
    ],
    ids=lambda event: str(event)[:40],
)
def test_system_prompts_are_left_out_on_request(tmp_path: Path, event: Any) -> None:
    if isinstance(event, dict):
        event = {"session_id": "s", "kept": "yes", **event}
    log_all(EventSessionLogger(tmp_path / "with"), event)
    log_all(EventSessionLogger(tmp_path / "without", include_system_prompt=False), event)

    (line,) = lines_of(tmp_path / "with" / "s")
    assert PROMPT in json.dumps(line)
    (line,) = lines_of(tmp_path / "without" / "s")
    assert PROMPT not in json.dumps(line)
    if isinstance(event, dict):
        assert line["event"]["kept"] == "yes"
        assert ("hi" in json.dumps(event)) == ("hi" in json.dumps(line["event"]))


def test_few_files_are_open_however_many_sessions_are_alive(tmp_path: Path) -> None:
    sessions = 300
    logger = EventSessionLogger(tmp_path, max_open_files=8)

    async def run() -> None:
        for n in range(3):
            for session in range(sessions):
                await logger({"session_id": f"s{session}", "n": n})
                assert logger.stats().open_files <= 8
        await logger.close()
        assert logger.stats().open_files == 0

    asyncio.run(run())

    for session in range(sessions):
        (file,) = (tmp_path / f"s{session}").glob("*.jsonl")
        assert [json.loads(line)["event"]["n"] for line in file.read_bytes().splitlines()] == [
            0,
            1,
            2,
        ]


def test_a_session_goes_on_in_another_file_when_one_is_full(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, max_file_bytes=1000)
    log_all(logger, *({"session_id": "s", "n": n} for n in range(20)))

    files = list((tmp_path / "s").glob("*.jsonl"))
    assert len(files) > 3
    assert all(file.stat().st_size < 1500 for file in files)
    assert sorted(line["event"]["n"] for line in lines_of(tmp_path / "s")) == list(range(20))


def test_a_file_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, max_open_files=1)

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        path = logger.get_log_file_path("s")
        assert path is not None
        path.unlink()
        path.parent.rmdir()
        await logger({"session_id": "other"})  # so that the first one is closed
        await logger({"session_id": "s", "n": 2})
        await logger.close()

    asyncio.run(run())

    assert [line["event"]["n"] for line in lines_of(tmp_path / "s")] == [2]


def test_two_loggers_of_one_second_do_not_share_a_file(tmp_path: Path) -> None:
    pattern = "always-the-same"
    for n in range(3):
        logger = EventSessionLogger(tmp_path, file_naming_pattern=pattern)
        log_all(logger, {"session_id": "s", "n": n})

    assert {file.name for file in (tmp_path / "s").iterdir()} == {
        "always-the-same.jsonl",
        "always-the-same-2.jsonl",
        "always-the-same-3.jsonl",
    }


@pytest.mark.parametrize("durability", ["os_buffered", "flush", "periodic", "fsync"])
def test_every_durability_keeps_every_event(tmp_path: Path, durability: str) -> None:
    logger = EventSessionLogger(tmp_path, durability=durability, max_open_files=2)

    async def run() -> None:
        async with logger:
            await asyncio.gather(*(logger({"session_id": f"s{n % 5}", "n": n}) for n in range(100)))

    asyncio.run(run())

    found = [line["event"]["n"] for k in range(5) for line in lines_of(tmp_path / f"s{k}")]
    assert sorted(found) == list(range(100))


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_after_a_failed_sync_the_event_goes_into_another_file_and_is_forwarded(
    tmp_path: Path, log_format: str
) -> None:
    got: list[int] = []
    logger = EventSessionLogger(
        tmp_path, lambda event: got.append(event["n"]), durability="fsync", log_format=log_format
    )

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        before = logger.get_log_file_path("s")
        with in_place_of_the_system(failing_syncs(1)):
            await logger({"session_id": "s", "n": 2})
        await logger({"session_id": "s", "n": 3})
        after = logger.get_log_file_path("s")
        assert numbers_in(before) == [1, 2]
        assert numbers_in(after) == [2, 3]
        assert await logger.flush()
        # What was written twice is sent twice, and counted so.
        assert list(dict.fromkeys(got)) == [1, 2, 3]
        stats = logger.stats()
        assert (stats.logged, stats.forwarded, stats.pending) == (3, len(got), 0)
        await logger.close()

    asyncio.run(run())


def test_a_sync_that_fails_again_is_told_and_its_files_are_not_used_again(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, durability="fsync")

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        before = logger.get_log_file_path("s")
        with (
            in_place_of_the_system(failing_syncs(2)),
            pytest.raises(LocalLoggingError, match="sync"),
        ):
            await logger({"session_id": "s", "n": 2})
        await logger({"session_id": "s", "n": 3})
        assert logger.get_log_file_path("s") != before
        assert numbers_in(logger.get_log_file_path("s")) == [3]
        await logger.close()

    asyncio.run(run())


def failing_syncs(count: int) -> FileSystem:
    """Return a file system on which the next syncs fail."""
    left, real = [5] * count, SYSTEM.fdatasync

    def fdatasync(descriptor: int) -> None:
        if left:
            raise OSError(left.pop(), "Input/output error")
        real(descriptor)

    return with_calls(SYSTEM, fdatasync=fdatasync)


def numbers_in(path: Path) -> list[int]:
    return [body_of(entry)["n"] for entry in read(path)]


def body_of(entry: Entry) -> dict[str, Any]:
    assert isinstance(entry.record.body, dict)
    return entry.record.body


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_a_write_that_the_disk_takes_in_part_never_joins_two_events(
    tmp_path: Path, log_format: str
) -> None:
    logger = EventSessionLogger(tmp_path, log_format=log_format)
    calls = 0

    def short(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            return os.write(descriptor, data[:20])
        if calls == 4:
            raise OSError(28, "No space left on device")
        return os.write(descriptor, data)

    async def run() -> list[bool]:
        told = []
        for n in range(5):
            try:
                told.append(await logger({"session_id": "s", "n": n}))
            except LocalLoggingError:
                told.append(False)
        await logger.close()
        return told

    with in_place_of_the_system(with_calls(SYSTEM, write=short)):
        assert asyncio.run(run()) == [True, True, False, True, True]
    files = list((tmp_path / "s").glob(f"*.{log_format}"))
    assert len(files) == 2
    if log_format == "json":
        assert all(json.loads(file.read_bytes())["events"] for file in files)
    bodies: list[Any] = [entry.record.body for file in files for entry in read(file)]
    assert sorted(body["n"] for body in bodies) == [0, 1, 3, 4]


KILLED = """
import asyncio, os, signal, sys
from wakelog.gateway import EventSessionLogger
from wakelog.runtime import FileSystem
from wakelog.runtime._filesystem import SYSTEM
from tests.support.faults import with_calls
async def run():
    logger = EventSessionLogger(sys.argv[1], log_format=sys.argv[2])
    for n in range(20):
        await logger({"session_id": "s", "n": n})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(run())
"""


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_files_are_whole_after_a_kill(tmp_path: Path, log_format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), log_format], check=False, timeout=60
    )
    assert done.returncode == -9

    (file,) = (tmp_path / "s").glob(f"*.{log_format}")
    if log_format == "json":
        document = json.loads(file.read_bytes())
        assert "closed" not in document
        events = [line["event"] for line in document["events"]]
    else:
        events = [line["event"] for line in lines_of(tmp_path / "s")]
    assert [event["n"] for event in events] == list(range(20))
    bodies: list[Any] = [entry.record.body for entry in read(file)]
    assert [body["n"] for body in bodies] == list(range(20))


def test_a_json_document_is_complete_at_close_and_at_every_moment_before(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, log_format="json", max_open_files=1)

    async def run() -> None:
        for n in range(5):
            await logger({"session_id": "s", "n": n})
            await logger({"session_id": "other", "n": n})
            path = logger.get_log_file_path("s")
            assert path is not None
            assert len(json.loads(path.read_bytes())["events"]) == n + 1
        await logger.close()

    asyncio.run(run())

    (file,) = (tmp_path / "s").glob("*.json")
    document = json.loads(file.read_bytes())
    assert document["closed"] is True
    assert document["session_id"] == "s"


def test_a_format_of_ones_own_is_written_and_its_failure_told(tmp_path: Path) -> None:
    def formatted(event: Any) -> str:
        return f"{event.session_id}: {event['text'].upper()}"

    logger = EventSessionLogger(tmp_path, log_format="custom", formatter=formatted)

    async def run() -> None:
        async with logger:
            await logger({"session_id": "s", "text": "hi"})
            with pytest.raises(LocalLoggingError, match="text"):
                await logger({"session_id": "s"})
            await logger({"session_id": "s", "text": "ho"})

    asyncio.run(run())

    (file,) = (tmp_path / "s").iterdir()
    assert file.read_text() == "s: HI\ns: HO\n"


def test_a_forked_child_writes_files_of_its_own(tmp_path: Path) -> None:
    async def run() -> None:
        logger = EventSessionLogger(tmp_path, downstream_transport=NullTransport())
        await logger({"session_id": "s", "who": "parent"})
        context = __import__("multiprocessing").get_context("fork")
        child = context.Process(target=in_child, args=(logger,))
        child.start()
        await asyncio.to_thread(child.join, 60)
        assert child.exitcode == 0
        await logger({"session_id": "s", "who": "parent"})
        await logger.close()

    def in_child(logger: EventSessionLogger) -> None:
        done = []

        async def child() -> None:
            done.append(await logger({"session_id": "s", "who": "child"}))
            await logger.close()

        thread = __import__("threading").Thread(target=lambda: asyncio.run(child()))
        thread.start()
        thread.join(60)
        os._exit(0 if done == [True] else 1)

    asyncio.run(run())

    files = list((tmp_path / "s").glob("*.jsonl"))
    who = [
        {json.loads(line)["event"]["who"] for line in f.read_bytes().splitlines()} for f in files
    ]
    assert sorted(map(sorted, who)) == [["child"], ["parent"]]


def test_old_files_are_read_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "20250101_120000.jsonl"
    events: list[dict[str, Any]] = [
        {"timestamp": "2025-01-01T12:00:00.123456", "event": {"session_id": "s-9", "type": "ping"}},
        {"timestamp": 1735732801.5, "event": {"session_id": "s-9", "message": "so long"}},
        {"timestamp": "whenever", "event": "just text"},
    ]
    torn = '{"timestamp": "2025-01-01T12:00:02", "eve'
    old.write_text("\n".join(json.dumps(event) for event in events) + "\n" + torn)

    assert main(["show", str(old), "--json", "--attributes"]) == 0

    shown = json.loads(capsys.readouterr().out)
    (session,) = shown["sessions"]
    assert session["id"] == "s-9"
    first, second = session["steps"]
    assert (first["type"], first["start"]) == ("ping", "2025-01-01T12:00:00.123456000Z")
    assert "so long" in second["summary"]
    assert second["start"] == "2025-01-01T12:00:01.500000000Z"
    (other,) = shown["other_records"]
    assert other["summary"] == "just text"

    assert main(["show", str(tmp_path)]) == 0
    assert "s-9" in capsys.readouterr().out
    followed: Any = follow(old, from_start=True)
    found = followed.read()
    followed._file.close()
    assert [one.record.body for one in found] == [
        {"session_id": "s-9", "type": "ping"},
        {"session_id": "s-9", "message": "so long"},
        "just text",
    ]


def test_the_command_line_shows_a_whole_base_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_all(
        EventSessionLogger(tmp_path),
        {"session_id": "s-1", "event_type": "user_message", "message": "hello there"},
        {"session_id": "s-2", "event_type": "tool_call", "tool_name": "search"},
    )

    assert main(["show", str(tmp_path), "--json"]) == 0

    sessions = {one["id"]: one for one in json.loads(capsys.readouterr().out)["sessions"]}
    assert "hello there" in sessions["s-1"]["steps"][0]["summary"]
    assert sessions["s-2"]["steps"][0]["name"] == "search"


def test_the_errors_are_in_one_tree() -> None:
    for error in (LocalLoggingError, SerializationError, TransportError):
        assert issubclass(error, EventSessionLoggerError)
    for error in (TransportConnectionError, TransportTimeoutError):
        assert issubclass(error, TransportError)
    assert issubclass(EventSessionLoggerError, WakelogError)


def test_a_directory_that_is_no_path_is_refused() -> None:
    directory: Any = 5
    with pytest.raises(ConfigurationError, match="log_base_dir=5 is not usable: give a path"):
        EventSessionLogger(directory)


def test_arguments_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean downstream_callback"):
        EventSessionLogger(tmp_path, down_stream_callback=print)
    with pytest.raises(ConfigurationError, match=r"max_retries.*max_retry_attempts.*nonsense"):
        EventSessionLogger(tmp_path, max_retries=3, nonsense=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"session_directory_pattern": "../{session_id}"},
        {"session_directory_pattern": "/tmp/{session_id}"},
        {"session_directory_pattern": "everyone"},
        {"session_directory_pattern": "{session_id.__class__}"},
        {"session_directory_pattern": "{session_id!r}"},
        {"session_directory_pattern": "{session_id"},
        {"session_directory_pattern": "a\0{session_id}"},
        {"file_naming_pattern": "../%Y"},
        {"file_naming_pattern": "%D"},
        {"file_naming_pattern": ""},
        {"unknown_session_pattern": "{user}"},
        {"unknown_session_pattern": ""},
        {"log_format": "xml"},
        {"log_format": "custom"},
        {"max_retry_attempts": -1},
        {"retry_delay_seconds": float("nan")},
        {"durability": "maybe"},
        {"overflow": "maybe"},
        {"downstream_transport": NotImplemented},
        {"downstream_callback": "no function"},
        {"max_probe_attempts": -1},
        {"pipeline": ""},
        {"error_handler": 3},
        {"downstream_transport": NullTransport},
        {"include_system_prompt": "false"},
        {"enable_local_logging": 0},
        {"redact_payloads": "no"},
        {"redaction_config": {"keys": []}},
        {"queue_size": 2.5},
        {"max_retry_attempts": "3"},
        {"meter_provider": "global"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused_at_once(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        EventSessionLogger(tmp_path, **arguments)
    assert next(iter(arguments)).split("_")[-1] in str(raised.value)


@pytest.mark.parametrize(
    "variable, value, allowed",
    [
        ("AGENT_LOG_FORMAT", "xml", "jsonl, json, custom"),
        ("AGENT_LOG_INCLUDE_PROMPT", "perhaps", "true or false"),
        ("AGENT_LOG_MAX_RETRIES", "-1", "whole number"),
        ("AGENT_LOG_RETRY_DELAY", "soon", "seconds"),
        ("AGENT_LOG_RETRY_DELAY", "nan", "seconds"),
        ("AGENT_LOG_FILE_PATTERN", "../%Y", "strftime"),
        ("AGENT_LOG_ENABLE_LOCAL", "2", "true or false"),
        ("AGENT_LOG_SESSION_PATTERN", "x", "{session_id}"),
        ("AGENT_LOG_UNKNOWN_PATTERN", "{x}", "{uuid}"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        create_from_environment()
    for told in (variable, repr(value), allowed):
        assert told in str(raised.value)


def test_every_variable_does_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DIR": str(tmp_path),
        "FORMAT": "json",
        "INCLUDE_PROMPT": "no",
        "MAX_RETRIES": "7",
        "RETRY_DELAY": "0.25",
        "FILE_PATTERN": "%Y",
        "ENABLE_LOCAL": "off",
        "SESSION_PATTERN": "x/{session_id}",
        "UNKNOWN_PATTERN": "nobody",
    }.items():
        monkeypatch.setenv(f"AGENT_LOG_{name}", value)
    by_factory = create_from_environment().settings
    later = EventSessionLogger()
    later.configure_from_env()

    assert by_factory == later.settings
    assert (by_factory.log_base_dir, by_factory.log_format) == (str(tmp_path), "json")
    assert (by_factory.include_system_prompt, by_factory.enable_local_logging) == (False, False)
    assert (by_factory.max_retry_attempts, by_factory.retry_delay_seconds) == (7, 0.25)
    assert later.get_session_directory() == tmp_path / "x" / "nobody"


def test_an_argument_beats_the_environment_even_when_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENT_LOG_INCLUDE_PROMPT", "false")
    monkeypatch.setenv("AGENT_LOG_MAX_RETRIES", "nonsense")
    monkeypatch.setenv("AGENT_LOG_DIR", "/nowhere")
    logger = EventSessionLogger(tmp_path, include_system_prompt=True, max_retry_attempts=3)
    logger.configure_from_env()
    made = create_from_environment(
        log_base_dir=tmp_path, include_system_prompt=True, max_retry_attempts=5
    )

    assert logger.settings.include_system_prompt is True
    assert logger.log_base_dir == tmp_path
    assert (made.settings.include_system_prompt, made.settings.max_retry_attempts) == (True, 5)


def test_the_environment_comes_too_late_after_the_first_event(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logger = EventSessionLogger(tmp_path)
    asyncio.run(logger({"session_id": "s"}))
    monkeypatch.setenv("AGENT_LOG_FORMAT", "json")
    with pytest.raises(ConfigurationError, match="first event"):
        logger.configure_from_env()


def test_the_factories_make_what_they_say(tmp_path: Path) -> None:
    def callback(event: object) -> None: ...

    transport = NullTransport()
    old = SimpleNamespace(
        log_file_path=tmp_path / "logs" / "s-1" / "old.jsonl", include_system_prompt=False
    )
    assert create_session_logger(tmp_path, log_format="json").settings.log_format == "json"
    alone = create_logging_only(tmp_path)
    assert (alone.downstream_callback, alone.downstream_transport) == (None, None)
    with pytest.raises(TypeError, match="downstream_callback"):
        create_logging_only(tmp_path, downstream_callback=callback)
    assert create_with_transport(
        transport=transport, log_base_dir=tmp_path
    ).downstream_transport is (transport)
    assert (
        create_with_callback(callback=callback, log_base_dir=tmp_path).downstream_callback
        is callback
    )
    both = create_with_callback(callback, tmp_path, downstream_transport=transport)
    assert (both.downstream_callback, both.downstream_transport) == (callback, transport)
    plain = create_backward_compatible(
        log_base_dir=tmp_path, downstream_callback=callback, max_retry_attempts=9
    )
    assert (plain.log_base_dir, plain.log_format, plain.max_retry_attempts) == (
        tmp_path,
        "jsonl",
        9,
    )
    migrated = migrate_from_session_logger(old_session_logger=old, downstream_callback=callback)
    assert migrated.log_base_dir == tmp_path / "logs"
    assert migrated.include_system_prompt is False
    with pytest.raises(ConfigurationError, match="log_file_path"):
        migrate_from_session_logger(object())


def test_by_default_sessions_are_where_the_environment_says_else_in_logs_sessions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AGENT_LOG_DIR", raising=False)
    assert EventSessionLogger().log_base_dir == Path("logs/sessions")
    monkeypatch.setenv("AGENT_LOG_DIR", str(tmp_path))
    assert EventSessionLogger().log_base_dir == tmp_path
    assert create_session_logger().log_base_dir == tmp_path
    assert create_backward_compatible().log_base_dir == tmp_path


def test_importing_the_gateway_loads_no_client_and_no_sdk() -> None:
    code = (
        "import sys, wakelog.gateway\n"
        "for name in ('opentelemetry.sdk', 'httpx', 'redis', 'aiokafka', 'aio_pika', 'structlog'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
