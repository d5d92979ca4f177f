"""The gateway: what an event is on its line, and what callers are told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from tests.support.session_files import lines_of, log_all
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
)
from wakelog.journal import read
from wakelog.record import verify

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
