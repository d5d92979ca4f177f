"""The index says what the journal says, whatever has happened to either of them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import SECONDS, environment, recorder, run
from wakelog.cli import main
from wakelog.errors import JournalError
from wakelog.events import described
from wakelog.index import Index, Match, Selection
from wakelog.journal import Folder, Journal, read, usage
from wakelog.page._library import Library
from wakelog.record import Resource, encode, seal, seal_header, uuid7
from wakelog.storage import INDEX, segments

SECRET = "the-passenger-is-in-seat-14C"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


def fields(number: int, **more: Any) -> dict[str, object]:
    attributes = {"wakelog.run.id": f"r-{number // 10}", "gen_ai.conversation.id": "s-1"}
    return {
        "timestamp": f"2026-11-28T09:{number // 60 % 60:02d}:{number % 60:02d}.000000000Z",
        "event_name": "wakelog.decision",
        "severity_number": 9,
        "attributes": attributes | more,
    }


def write_segments(root: Path, counts: list[int], writer: str | None = None) -> Path:
    """Write a dead writer's segments, each with so many records."""
    Journal(root).close()
    folder = Folder.create(root, writer or uuid7())
    seq = crc = 0
    for number, count in enumerate(counts, 1):
        line, header = seal_header(folder.writer, number, seq, crc, Resource({}))
        lines, crc = [line], header.crc
        for _ in range(count):
            seq += 1
            line, crc = seal(uuid7(), seq, encode(fields(seq), 1 << 20), crc)
            lines.append(line)
        (folder.path / f"{number:08d}.jsonl").write_bytes(b"".join(lines))
    folder.release()
    return folder.path


FAILED = Selection(errors=True, tool="book")
# Of an index that is partial, a scan reads what it is for: only what is outside of runs, or has failed.
EVERY_ROW = re.compile(r"SCAN (events|e|sub)\b(?! USING INDEX events_(outside|failed))")


def ids_of(path: Path, selection: Selection | None = None) -> list[str]:
    """The ids that the index has, each of which can be read from its line."""
    with Index(path) as index:
        found = list(index.read(index.events(*([selection] if selection else []))))
        assert index.unread == 0
    assert all(one.record.id == one.event.id for one in found)
    return sorted(one.record.id for one in found)


def ids_in(path: Path) -> list[str]:
    return sorted(entry.record.id for entry in read(path))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    root = tmp_path / "journal"
    with recorder(root) as log:
        for number in range(3):
            with log.run("book", session_id=f"s-{number}", run_id=f"run-{number}"):
                with log.model("gpt-4o", "openai", input=SECRET) as call:
                    call.respond("yes", input_tokens=100 + number, output_tokens=10)
                with log.tool("pay", {"card": SECRET}) as tool:
                    tool.result("paid")
                try:
                    with log.tool("book", {"seat": "14C"}):
                        raise TimeoutError("too slow")
                except TimeoutError:
                    pass
        log.user_message("hello", session_id="s-9")
    return root


# --- what it says


def test_the_index_has_every_record_and_what_they_add_up_to(journal: Path) -> None:
    assert ids_of(journal) == ids_in(journal)
    with Index(journal) as index:
        assert index.folder == journal / INDEX
        sessions, count = index.sessions()
        runs, _ = index.runs(sort="tokens", limit=1)
        stats = index.stats()

    assert (count, [one.id for one in sessions]) == (4, ["s-9", "s-2", "s-1", "s-0"])
    assert [one.runs for one in sessions] == [0, 1, 1, 1]
    (run,) = runs
    assert (run.id, run.session, run.outcome, run.agents) == ("run-2", "s-2", "success", ["clerk"])
    assert (run.tokens.input_tokens, run.tokens.total) == (102, 112)
    assert (run.tool_calls, run.model_calls, run.errors) == (2, 1, 1)
    assert (stats.runs, stats.sessions, stats.total.events) == (3, 4, len(ids_in(journal)))
    assert stats.total.tokens.input_tokens == 303
    assert {tool.name: (tool.events, tool.errors) for tool in stats.tools} == {
        "book": (3, 3),
        "pay": (3, 0),
    }
    assert all(one.latency is not None for one in (*stats.tools, *stats.models))


def test_sums_that_were_kept_are_those_of_the_events_one_by_one(journal: Path) -> None:
    with Index(journal) as index:
        kept, counted = index.stats(), index.stats(Selection(session=""))
        kept.timeline = counted.timeline = []
        assert kept.to_dict() == counted.to_dict()


def test_a_call_is_found_with_its_answer_and_its_run(journal: Path) -> None:
    with Index(journal) as index:
        failed = list(index.events(Selection(errors=True, type="tool_call", run="run-1")))
        around = index.around(failed)

    assert [event.type for event in failed] == ["tool_result"]
    assert failed[0].error == "TimeoutError"
    assert failed[0].duration is not None
    kinds = ["run_start", "tool_call", "tool_result", "run_end"]
    assert [event.type for event in around] == kinds


ASKED_BY_ID: dict[str, Callable[[Index], object]] = {
    "the other halves and the runs": lambda index: index.around(index.events(FAILED)),
    "a session": lambda index: list(index.of_session("s-1")),
    "a session and the runs inside": lambda index: index.whole(Selection(session="s-1")),
    "events of a run": lambda index: list(index.events(Selection(run="run-1"))),
    "failed tool calls": lambda index: list(index.events(FAILED)),
    "what is outside of runs": lambda index: index.outside_runs(5),
}


@pytest.mark.parametrize("asked", ASKED_BY_ID)
def test_what_is_asked_for_by_id_is_found_without_reading_every_row(
    asked: str, journal: Path
) -> None:
    statements: list[str] = []
    with Index(journal) as index:
        connection = index.connection
        connection.set_trace_callback(statements.append)
        assert ASKED_BY_ID[asked](index)
        connection.set_trace_callback(None)
        plans = {
            statement: [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in statements
        }
    assert {s for s, plan in plans.items() if any(map(EVERY_ROW.match, plan))} == set()


def test_runs_inside_a_run_belong_to_it(tmp_path: Path) -> None:
    with recorder(tmp_path) as log, log.run(run_id="outer"):
        with log.run(run_id="middle"), log.run(run_id="inner"):
            log.decision("deep")
        log.decision("shallow")
    with recorder(tmp_path) as log, log.run(run_id="another"):
        log.decision("else")

    with Index(tmp_path) as index:
        whole = list(index.records(index.whole(Selection(run="outer"))))
        runs = {one.record.attributes.get("wakelog.run.id") for one in whole}
        assert runs == {"outer", "middle", "inner"}
        assert index.newest_run() is not None
        assert index.newest_run()[0] == "another"  # type: ignore[index]


SELECTIONS = [
    Selection(),
    Selection(session="s-1"),
    Selection(session="s-"),
    Selection(run="run-2"),
    Selection(errors=True),
    Selection(agent="clerk", type="tool"),
    Selection(tool="pay"),
    Selection(tool="pay", errors=True),
    Selection(type="model_call"),
    Selection(type="run_end", run="run-0"),
    Selection(text="SEAT-14c"),
    Selection(text="paid", tool="pay"),
    Selection(text="severity_number"),
    Selection(text='"quoted"'),
    Selection(since=1),
    Selection(until=1),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_what_a_selection_means_is_the_same_for_the_index_and_for_a_record(
    journal: Path, selection: Selection
) -> None:
    meant = Match(selection)

    expected = [e.record.id for e in read(journal) if meant(described(e.record), e.writer)]

    assert ids_of(journal, selection) == sorted(expected)
    assert bool(expected) == (selection.text not in ("severity_number", '"quoted"')) or (
        not expected and selection in (Selection(tool="pay", errors=True), Selection(until=1))
    )


def test_a_text_in_a_value_beside_its_line_is_found(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.user_message("x" * 2_000_000 + " Needle in the hay", session_id="s-1")
        log.user_message("nothing", session_id="s-1")

    assert len(ids_of(tmp_path, Selection(text="needle IN"))) == 1


def test_nothing_that_was_said_is_in_the_index(journal: Path) -> None:
    with Index(journal):
        files = list((journal / INDEX).iterdir())
        assert files
        for file in files:
            assert SECRET.encode() not in file.read_bytes(), file


# --- damage


def damaged_line(data: bytearray, lines: list[int]) -> None:
    data[lines[5] + 100] ^= 1


def damaged_checksum(data: bytearray, lines: list[int]) -> None:
    data[lines[6] - 5] ^= 1


def damaged_end(data: bytearray, lines: list[int]) -> None:
    data[lines[6] - 1] ^= 1


def damaged_header(data: bytearray, lines: list[int]) -> None:
    data[20] ^= 1


def torn_tail(data: bytearray, lines: list[int]) -> None:
    del data[-30:]


def missing_line(data: bytearray, lines: list[int]) -> None:
    del data[lines[4] : lines[5]]


def line_twice(data: bytearray, lines: list[int]) -> None:
    data[lines[5] : lines[5]] = data[lines[4] : lines[5]]


def blank_line(data: bytearray, lines: list[int]) -> None:
    data[lines[5] : lines[5]] = b"\n"


def everything(data: bytearray, lines: list[int]) -> None:
    data[:] = b"\0" * len(data)


DAMAGE = [
    damaged_line,
    damaged_checksum,
    damaged_end,
    damaged_header,
    torn_tail,
    missing_line,
    line_twice,
    blank_line,
    everything,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_index_passes_over_what_a_reader_passes_over(damage: Any, tmp_path: Path) -> None:
    folder = write_segments(tmp_path, [10, 10, 10])
    path = folder / "00000002.jsonl"
    data = bytearray(path.read_bytes())
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    damage(data, [0, *ends])
    path.write_bytes(data)

    assert ids_of(tmp_path) == ids_in(tmp_path)


def test_the_index_passes_over_what_a_reader_does_wherever_bits_have_turned(tmp_path: Path) -> None:
    folder = write_segments(tmp_path / "good", [12, 12])
    good = [(folder / f"0000000{n}.jsonl").read_bytes() for n in (1, 2)]
    chance = random.Random(7)
    for number in range(40):
        root = tmp_path / str(number)
        copy = write_segments(root, [0, 0], folder.name)
        for n, data in enumerate(good, 1):
            turned = bytearray(data)
            for _ in range(chance.randrange(3)):
                turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
            (copy / f"0000000{n}.jsonl").write_bytes(turned)

        assert ids_of(root) == ids_in(root), number


def test_a_line_that_is_damaged_after_it_was_indexed_is_passed_over(tmp_path: Path) -> None:
    folder = write_segments(tmp_path, [10])
    assert len(ids_of(tmp_path)) == 10
    path = folder / "00000001.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with Index(tmp_path) as index:
        found = [one.record.id for one in index.read(index.events())]
        assert (len(found), index.unread) == (9, 1)


@pytest.mark.parametrize(
    "damage",
    ["cut", "overwritten", "no database", "other version", "empty", "no text in its schema"],
)
def test_an_index_that_cannot_be_used_is_made_anew(damage: str, journal: Path) -> None:
    expected = ids_of(journal)
    path = journal / INDEX / "index.sqlite"
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "overwritten":
        path.write_bytes(data[:8192] + os.urandom(len(data) - 8192))
    elif damage == "no database":
        path.write_bytes(b"hello" * 2000)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no text in its schema":
        # SQLite's own message quotes it, which sqlite3 fails to decode.
        path.write_bytes(data.replace(b"CREATE TABLE", b"CREATE\xb6TABLE"))
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
    # Something is new, so that the index is read and written.
    with recorder(journal) as log:
        log.decision("one more")

    assert ids_of(journal) == ids_in(journal)
    assert len(ids_in(journal)) == len(expected) + 1


def damage_rows(journal: Path) -> None:
    """Damages the index's rows alone, so that opening it finds nothing."""
    path = journal / INDEX / "index.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'events'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(data)


def test_an_index_that_fails_while_it_is_read_is_given_up(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ids_of(journal)
    damage_rows(journal)

    assert main(["show", "--json", "--all", str(journal)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"wakelog: cannot read the index of {journal}: ")
    assert "the next reader rebuilds it" in said
    assert main(["show", "--json", "--all", str(journal)]) == 0
    assert ids_of(journal) == expected


def test_the_page_answers_again_after_its_index_has_failed(journal: Path) -> None:
    expected = ids_of(journal)
    damage_rows(journal)
    library = Library(journal)

    def ask() -> list[str]:
        return asyncio.run(
            library.ask(lambda index: sorted(one.record.id for one in index.read(index.events())))
        )

    try:
        with pytest.raises(JournalError, match="cannot read the index"):
            ask()
        assert ask() == expected
    finally:
        library.close()


# --- what comes and goes


def test_what_is_new_is_added_and_what_is_gone_is_taken_out(tmp_path: Path) -> None:
    first = write_segments(tmp_path, [10, 10])
    assert len(ids_of(tmp_path)) == 20
    second = write_segments(tmp_path, [5])
    assert len(ids_of(tmp_path)) == 25

    (first / "00000001.jsonl").unlink()
    assert ids_of(tmp_path) == ids_in(tmp_path)
    assert len(ids_in(tmp_path)) == 15
    shutil.rmtree(second)
    assert ids_of(tmp_path) == ids_in(tmp_path)
    with Index(tmp_path) as index:
        assert [one.id for one in index.runs()[0]] == ["r-2", "r-1"]
        texts = {text for (text,) in index.connection.execute("SELECT text FROM names")}
        assert "r-0" not in texts
        assert index.stats().total.events == 10


def test_a_segment_that_another_file_has_replaced_is_indexed_anew(tmp_path: Path) -> None:
    folder = write_segments(tmp_path, [10])
    ids_of(tmp_path)
    other = write_segments(tmp_path / "other", [4], folder.name)
    os.replace(other / "00000001.jsonl", folder / "00000001.jsonl")

    assert len(ids_of(tmp_path)) == 4


def test_two_readers_and_a_writer_at_once_agree_in_the_end(tmp_path: Path) -> None:
    stop = threading.Event()
    program = (
        "import sys; from wakelog.index import Index\n"
        "for _ in range(15):\n"
        "    with Index(sys.argv[1]) as index: index.stats()\n"
    )

    def write() -> None:
        with recorder(tmp_path) as log:
            while not stop.is_set():
                with log.run(session_id="s-1"), log.tool("search", {"q": 1}) as tool:
                    tool.result("found")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", program, tmp_path], env=environment(), stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for reader in readers:
            _, error = reader.communicate(timeout=SECONDS)
            assert (reader.returncode, error) == (0, b"")
    finally:
        stop.set()
        writing.join()

    assert ids_of(tmp_path) == ids_in(tmp_path)
    with Index(tmp_path) as index:
        kept, counted = index.stats(), index.stats(Selection(session=""))
        kept.timeline = counted.timeline = []
        assert kept.to_dict() == counted.to_dict()
        (open_calls,) = index.connection.execute(
            "SELECT COUNT(*) FROM events WHERE open = 1"
        ).fetchone()
    assert open_calls == 0  # each call has found its answer, whoever indexed either of them


def test_the_index_is_no_writer_and_counts_in_no_quota(journal: Path) -> None:
    before, listed = usage(journal), run("status", "--json", journal).stdout
    ids_of(journal)

    assert (journal / INDEX).is_dir()
    assert (usage(journal), run("status", "--json", journal).stdout) == (before, listed)
    assert run("verify", journal).returncode == 0
    cleaning = Journal(journal)
    cleaning.clean_up()
    cleaning.close()
    assert (journal / INDEX / "index.sqlite").exists()


# --- where it is


def test_a_link_by_its_name_is_not_followed(journal: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (journal / INDEX).symlink_to(elsewhere)

    with Index(journal) as index:
        assert index.folder is not None
        assert index.folder.is_relative_to(tmp_path / "cache")
    assert list(elsewhere.iterdir()) == []


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory below which every user may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@as_root
@pytest.mark.parametrize("cached", [True, False], ids=["with a cache", "without a cache"])
def test_who_may_only_read_a_journal_gets_the_same_answers(
    journal: Path, shared: Path, cached: bool
) -> None:
    other = shutil.copytree(journal, shared / "other")
    shutil.copytree(journal, shared / "journal")
    journal, home = shared / "journal", shared / "home"
    for path in (journal, *journal.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    home.mkdir()
    home.chmod(0o777 if cached else 0o555)
    before = sorted(journal.rglob("*"))
    code = (
        "import contextlib, io, os, sys; from wakelog.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['sessions', '--json', sys.argv[2]])  # loads what the other user may not\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(['sessions', '--json', sys.argv[1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, journal, other],
        env=environment(XDG_CACHE_HOME=str(home / "cache")),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["count"] == 4
    assert sorted(journal.rglob("*")) == before
    assert bool(list(home.rglob("index.sqlite"))) == cached


@as_root
def test_root_leaves_another_users_journal_as_it_is(journal: Path, cache: Path) -> None:
    os.chown(journal, 65534, 65534)

    with Index(journal) as index:
        assert index.folder is not None
        assert index.folder.is_relative_to(cache)
    assert not (journal / INDEX).exists()


def test_a_file_by_itself_is_indexed_for_as_long_as_it_is_open(tmp_path: Path) -> None:
    from wakelog import AgentLogger, JSONLSink

    path = tmp_path / "events.jsonl"
    log = AgentLogger("clerk", sink=JSONLSink(path))
    with log.run(run_id="r-1", session_id="s-1"), log.tool("search", {}):
        pass
    with path.open("a") as file:
        file.write('{"timestamp": 1, "event": {"event_type": "tool_call", "session_id": "s-2"}}\n')

    assert ids_of(path) == ids_in(path)
    with Index(path) as index:
        assert [one.id for one in index.sessions()[0]] == ["s-1", "s-2"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["events.jsonl"]


# --- recorded runs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, trajectories: list[dict[str, Any]]) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    with recorder(root) as log:
        for one in trajectories[:25]:
            with log.run(session_id=one["run"], run_id=f"run-{one['run']}"):
                for message in one["messages"]:
                    write_message(log, message)
    return root


def write_message(log: Any, message: dict[str, Any]) -> None:
    calls = message.get("tool_calls") or []
    if message["role"] == "tool":
        result = {"result": message["content"]}
        log.emit("tool_result", result, tool_name=message["name"], call_id=message["tool_call_id"])
    elif message["role"] == "assistant":
        log.emit("assistant_message", {"message": message["content"] or ""})
        for call in calls:
            function = call["function"]
            args = {"args": json.loads(function["arguments"])}
            log.emit("tool_call", args, tool_name=function["name"], call_id=call["id"])
    elif message["role"] == "user":
        log.user_message(message["content"])


def test_recorded_runs_are_found_again(recorded: Path, trajectories: list[dict[str, Any]]) -> None:
    data = trajectories[:25]
    calls = [c for one in data for m in one["messages"] for c in m.get("tool_calls") or []]

    assert ids_of(recorded) == ids_in(recorded)
    with Index(recorded) as index:
        stats = index.stats()
        assert index.sessions()[1] == 25
        assert sum(tool.events for tool in stats.tools) == len(calls)
        answered = sum(tool.latency.count for tool in stats.tools if tool.latency)
        assert answered == len(
            calls
        )  # by the ids of the calls, since no answer names its call's record
    word = calls[0]["function"]["name"].upper()
    meant = Match(Selection(text=word))
    expected = [e.record.id for e in read(recorded) if meant(described(e.record), e.writer)]
    assert ids_of(recorded, Selection(text=word)) == sorted(expected)
    assert segments(next(path for path in recorded.iterdir() if (path / "lock").exists()))
