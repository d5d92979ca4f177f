"""Session logs: one suite of promises, held to by every backend."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgres
from tests.support.waiting import until
from wakelog import AgentEvent, ConfigurationError, EventTooLargeError, SessionLogError
from wakelog.audit import (
    InMemorySessionLog,
    JournalSessionLog,
    Logged,
    SessionGraph,
    SessionLog,
    SQLiteSessionLog,
    ThreadKey,
    _codec,
)
from wakelog.record import to_line
from wakelog.runtime import check_for_sqlite

KEY = ThreadKey("acme", "t-1")
HOSTILE = [
    "..",
    ".",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "A",
    "a",
    " a",
    "a ",
    "a\n",
    "a'; DROP TABLE events; --",
    "%s",
    "ä",
    "a\u0308",
    "\u202e",
    "💥" * 255,
    "x" * 255,
    "NUL",
    "archive",
    "lock",
]


@pytest.fixture
def pg(postgres_server: postgres.Postgres) -> Iterator[Any]:
    """A log of an ordinary role in an empty schema."""
    import psycopg

    from wakelog.audit import PostgresSessionLog

    with psycopg.connect(postgres_server.app, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS wakelog CASCADE")
    log = PostgresSessionLog(postgres_server.app)
    asyncio.run(log.create_schema())
    yield log
    log.close()


BACKENDS = ["memory", "journal", "journal-fsync", "sqlite", "postgres"]


@pytest.fixture(params=BACKENDS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionLog]:
    made: Any
    match request.param:
        case "memory":
            made = InMemorySessionLog()
        case "journal":
            made = JournalSessionLog(tmp_path / "log", segment_bytes=2000)
        case "journal-fsync":
            made = JournalSessionLog(tmp_path / "log", "fsync", segment_bytes=2000)
        case "sqlite":
            made = SQLiteSessionLog(tmp_path / "log.db")
        case _:
            made = request.getfixturevalue("pg")
    assert isinstance(made, SessionLog)
    yield made
    if hasattr(made, "close"):
        made.close()


def said(text: str) -> AgentEvent:
    return AgentEvent("user_message", payload={"message": text})


def texts(logged: list[Logged]) -> list[tuple[int, str]]:
    return [(one.ordinal, one.event.payload["message"]) for one in logged]


def numbered(*numbers: int) -> list[tuple[int, str]]:
    return [(number, f"m{number}") for number in numbers]


async def fill(log: SessionLog, count: int, key: ThreadKey = KEY) -> None:
    for number in range(1, count + 1):
        await log.append(key, [said(f"m{number}")])


# Ordinals


def test_ordinals_are_dense_from_one_and_append_returns_the_highest(log: SessionLog) -> None:
    async def scenario() -> None:
        assert await log.append(KEY, []) == 0
        assert await log.append(KEY, [said("m1")]) == 1
        assert await log.append(KEY, [said("m2"), said("m3")]) == 3
        assert await log.append(KEY, []) == 3
        assert texts(await log.load_since(KEY, 0)) == numbered(1, 2, 3)

    asyncio.run(scenario())


def test_reading_begins_above_the_cursor_and_ends_at_the_limit(log: SessionLog) -> None:
    async def scenario() -> None:
        await fill(log, 30)

        assert texts(await log.load_since(KEY, 27)) == numbered(28, 29, 30)
        assert texts(await log.load_since(KEY, 3, limit=2)) == numbered(4, 5)
        assert await log.load_since(KEY, 30) == []
        assert await log.load_since(KEY, 31) == []
        assert await log.load_since(KEY, 0, limit=0) == []
        assert len(await log.load_since(KEY, -1)) == 30

    asyncio.run(scenario())


def test_a_thread_that_nobody_wrote_to_is_empty(log: SessionLog) -> None:
    async def scenario() -> None:
        other = ThreadKey("acme", "never")
        assert await log.load_since(other, 0) == []
        assert await log.load_archived(other, 0) == []
        assert await log.archive_before(other, 5) == 0
        assert await log.watermark(other) == 0
        assert await log.append(other, [said("m1")]) == 1

    asyncio.run(scenario())


def test_tasks_that_append_at_once_share_the_ordinals_and_keep_their_own_order(
    log: SessionLog,
) -> None:
    async def appender(name: int) -> list[int]:
        return [await log.append(KEY, [said(f"{name}/{step}")]) for step in range(25)]

    async def scenario() -> tuple[list[list[int]], list[Logged]]:
        reached = await asyncio.gather(*map(appender, range(4)))
        return reached, await log.load_since(KEY, 0)

    reached, logged = asyncio.run(scenario())

    assert sorted(number for one in reached for number in one) == list(range(1, 101))
    assert [one.ordinal for one in logged] == list(range(1, 101))
    for name in range(4):
        of_one = [text for _, text in texts(logged) if text.startswith(f"{name}/")]
        assert of_one == [f"{name}/{step}" for step in range(25)]


# What comes back


def test_an_event_comes_back_as_it_went_in_with_its_trace_context(log: SessionLog) -> None:
    event = AgentEvent(
        "tool_result",
        run_id="r-1",
        agent_name="worker",
        workflow_name="trip",
        parent_event_id="e-0",
        tool_name="search",
        call_id="c-1",
        status="error",
        session_id="t-1",
        tenant_id="acme",
        payload={
            "result": [b"\x00\xff", math.inf, -0.0, 1.0, 2**63 - 1, None, {"$wakelog": "mine"}],
            "text": "nul \0, line\nend, \u2028, 💥, \\u0000",
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "none": None,
            "empty": {},
        },
        risk={"level": "high"},
        metadata={"region": "eu"},
        attributes={"app.tier": "gold"},
        time_unix_nano=1_700_000_000_123_456_789,
    )
    event.span_context = (0xABC << 64 | 7, 0xDEF, 1)

    async def scenario() -> AgentEvent:
        await log.append(KEY, [event])
        return (await log.load_since(KEY, 0))[0].event

    back = asyncio.run(scenario())

    assert back == event
    assert back.event_id == event.event_id
    assert back.time_unix_nano == event.time_unix_nano
    assert back.span_context == event.span_context
    assert back.payload["result"][0] == b"\x00\xff"


def test_what_is_changed_after_it_was_appended_does_not_change_the_log(log: SessionLog) -> None:
    event = said("before")

    async def scenario() -> list[Logged]:
        await log.append(KEY, [event])
        event.payload["message"] = "after"
        (await log.load_since(KEY, 0))[0].event.payload["message"] = "after"
        return await log.load_since(KEY, 0)

    assert texts(asyncio.run(scenario())) == [(1, "before")]


def test_a_long_text_is_kept_whole_and_a_giant_one_refused(log: SessionLog) -> None:
    async def scenario() -> None:
        await log.append(KEY, [said("x" * 3_000_000)])
        with pytest.raises(EventTooLargeError):
            await log.append(KEY, [said("m1"), said("x" * (16 * 1024 * 1024))])
        (one,) = await log.load_since(KEY, 0)
        assert len(one.event.payload["message"]) == 3_000_000

    asyncio.run(scenario())


def test_an_event_of_somebody_elses_type_comes_back(log: SessionLog) -> None:
    event = AgentEvent("of.their.own", allow_custom_event_types=True, payload={"a": 1})

    async def scenario() -> AgentEvent:
        await log.append(KEY, [event])
        return (await log.load_since(KEY, 0))[0].event

    assert asyncio.run(scenario()) == event


# Tenants


def test_no_two_keys_share_anything_whatever_their_ids_are(log: SessionLog) -> None:
    keys = [ThreadKey("acme", name) for name in HOSTILE]
    keys += [ThreadKey(name, "t-1") for name in HOSTILE]
    keys += [ThreadKey("ab", "c"), ThreadKey("a", "bc")]

    async def scenario() -> None:
        for number, key in enumerate(keys):
            assert await log.append(key, [said(str(number))]) == 1
        for number, key in enumerate(keys):
            assert texts(await log.load_since(key, 0)) == [(1, str(number))]

    asyncio.run(scenario())


def test_archiving_a_thread_leaves_those_of_other_tenants_alone(log: SessionLog) -> None:
    other = ThreadKey("rival", KEY.thread_id)

    async def scenario() -> None:
        await fill(log, 3)
        await fill(log, 3, other)
        assert await log.archive_before(KEY, 3) == 3
        assert await log.watermark(other) == 0
        assert texts(await log.load_since(other, 0)) == numbered(1, 2, 3)
        assert await log.load_archived(other, 0) == []

    asyncio.run(scenario())


def test_a_log_is_neither_read_nor_written_without_the_tenant(log: SessionLog) -> None:
    bare: Any = "t-1"
    for call in (
        lambda: log.append(bare, [said("m1")]),
        lambda: log.load_since(bare),
        lambda: log.load_archived(bare),
        lambda: log.archive_before(bare, 1),
        lambda: log.watermark(bare),
    ):
        with pytest.raises(ConfigurationError, match="ThreadKey"):
            asyncio.run(call())


@pytest.mark.parametrize("bad", ["", "  ", None, 7, "a\0b", "\ud800", "x" * 256])
def test_a_key_has_both_ids_in_a_form_that_every_backend_keeps(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="tenant_id"):
        ThreadKey(bad, "t")
    with pytest.raises(ConfigurationError, match="thread_id"):
        ThreadKey("t", bad)


# Archiving


def test_what_is_archived_is_read_as_archived_and_no_more_as_live(log: SessionLog) -> None:
    async def scenario() -> None:
        await fill(log, 30)
        assert await log.archive_before(KEY, 17) == 17
        assert await log.watermark(KEY) == 17
        # Over the edge, from below and from above.
        assert texts(await log.load_since(KEY, 0)) == numbered(*range(18, 31))
        assert texts(await log.load_since(KEY, 16)) == numbered(*range(18, 31))
        assert texts(await log.load_since(KEY, 20)) == numbered(*range(21, 31))
        assert texts(await log.load_archived(KEY, 0)) == numbered(*range(1, 18))
        assert texts(await log.load_archived(KEY, 15)) == numbered(16, 17)
        assert texts(await log.load_archived(KEY, 3, limit=2)) == numbered(4, 5)
        assert await log.load_archived(KEY, 17) == []

    asyncio.run(scenario())


def test_the_watermark_never_goes_back(log: SessionLog) -> None:
    async def scenario() -> None:
        await fill(log, 10)
        assert await log.archive_before(KEY, 6) == 6
        assert await log.archive_before(KEY, 2) == 0
        assert await log.archive_before(KEY, 0) == 0
        assert await log.archive_before(KEY, -3) == 0
        assert await log.watermark(KEY) == 6
        assert texts(await log.load_since(KEY, 0)) == numbered(7, 8, 9, 10)
        assert await log.archive_before(KEY, 8) == 2

    asyncio.run(scenario())


def test_ordinals_are_not_used_again_when_everything_is_archived(log: SessionLog) -> None:
    async def scenario() -> None:
        await fill(log, 12)
        assert await log.archive_before(KEY, 12) == 12
        assert await log.load_since(KEY, 0) == []
        assert await log.append(KEY, [said("m13")]) == 13
        assert texts(await log.load_since(KEY, 0)) == numbered(13)
        assert texts(await log.load_archived(KEY, 0)) == numbered(*range(1, 13))

    asyncio.run(scenario())


def test_a_watermark_beyond_the_end_hides_nothing_that_comes_later(log: SessionLog) -> None:
    async def scenario() -> None:
        await fill(log, 2)
        assert await log.archive_before(KEY, 1000) == 2
        assert await log.watermark(KEY) == 2
        assert await log.append(KEY, [said("m3")]) == 3
        assert texts(await log.load_since(KEY, 0)) == numbered(3)

    asyncio.run(scenario())


# Processes, restarts


Reopen = Callable[[], SessionLog]


@pytest.fixture(params=["journal", "journal-fsync", "sqlite", "postgres"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the same log, as another process would."""
    made: list[Any] = []

    def make() -> SessionLog:
        log: SessionLog = new()
        made.append(log)
        return log

    def new() -> Any:
        if request.param == "journal":
            return JournalSessionLog(tmp_path / "log", segment_bytes=2000)
        if request.param == "journal-fsync":
            return JournalSessionLog(tmp_path / "log", "fsync", segment_bytes=2000)
        if request.param == "sqlite":
            return SQLiteSessionLog(tmp_path / "log.db")
        from wakelog.audit import PostgresSessionLog

        return PostgresSessionLog(server.app)

    if request.param == "postgres":
        request.getfixturevalue("pg")
        server = request.getfixturevalue("postgres_server")
    yield make
    for log in made:
        log.close()


def append_many(make: Reopen, name: str, count: int, start: Any) -> None:
    async def work() -> None:
        log = make()
        start.wait(60)
        for step in range(count):
            await log.append(KEY, [said(f"{name}/{step}"), said(f"{name}/{step}+")])

    asyncio.run(work())


def test_two_processes_that_append_at_once_share_the_ordinals(reopen: Reopen) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    workers = [
        context.Process(target=append_many, args=(reopen, name, 150, start)) for name in "ab"
    ]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0]
    logged = asyncio.run(reopen().load_since(KEY, 0))
    assert [one.ordinal for one in logged] == list(range(1, 601))
    for name in "ab":
        of_one = [text for _, text in texts(logged) if text.startswith(f"{name}/")]
        assert of_one == [f"{name}/{step}{end}" for step in range(150) for end in ("", "+")]
    for one, next_one in pairwise(logged):
        # One append is one piece.
        text = one.event.payload["message"]
        if not text.endswith("+"):
            assert next_one.event.payload["message"] == f"{text}+"


def test_a_log_that_is_opened_again_goes_on_where_it_ended(reopen: Reopen) -> None:
    async def scenario() -> None:
        await fill(reopen(), 10)
        await reopen().archive_before(KEY, 4)
        assert await reopen().append(KEY, [said("m11")]) == 11
        again = reopen()
        assert texts(await again.load_since(KEY, 0)) == numbered(*range(5, 12))
        assert texts(await again.load_archived(KEY, 0)) == numbered(1, 2, 3, 4)
        assert await again.watermark(KEY) == 4

    asyncio.run(scenario())


def test_a_forked_child_goes_on_in_the_same_log(reopen: Reopen) -> None:
    log = reopen()
    asyncio.run(fill(log, 3))

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if asyncio.run(log.append(KEY, [said("m4")])) == 4 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(log.append(KEY, [said("m5")])) == 5
    assert texts(asyncio.run(log.load_since(KEY, 0))) == numbered(1, 2, 3, 4, 5)


def test_who_reads_while_others_append_and_archive_sees_no_hole(reopen: Reopen) -> None:
    writer, reader = reopen(), reopen()
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set() or reads == 0:
            live = asyncio.run(reader.load_since(KEY, 0))
            old = asyncio.run(reader.load_archived(KEY, 0))
            graph = asyncio.run(SessionGraph.hydrate(reader, KEY, archived=True))
            assert texts(live) == numbered(
                *range(live[0].ordinal, live[-1].ordinal + 1) if live else []
            )
            assert texts(old) == numbered(*range(1, len(old) + 1))
            whole = graph.events_since()
            assert texts(whole) == numbered(*range(1, len(whole) + 1))
            reads += 1
        return reads

    async def write() -> None:
        for number in range(1, 241):
            await writer.append(KEY, [said(f"m{number}")])
            if number % 6 == 0:
                await writer.archive_before(KEY, number - 3)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            asyncio.run(write())
        finally:
            done.set()
        assert all(reads.result() for reads in readers)
    assert asyncio.run(reader.watermark(KEY)) == 237


KILLED = """
import asyncio, os, signal, sys
from wakelog import AgentEvent
from wakelog.audit import *
log = eval(sys.argv[1])
async def work():
    for number in range(1, 51):
        await log.append(ThreadKey("acme", "t-1"), [AgentEvent("user_message", payload={"message": f"m{number}"})])
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(work())
"""


def test_what_append_has_returned_for_survives_kill_9(reopen: Reopen, tmp_path: Path) -> None:
    log: Any = reopen()
    if isinstance(log, JournalSessionLog):
        shown = f"JournalSessionLog({str(log.root)!r}, {str(log.durability)!r})"
    elif isinstance(log, SQLiteSessionLog):
        shown = f"SQLiteSessionLog({str(log.path)!r})"
    else:
        shown = f"PostgresSessionLog({log._conninfo!r})"

    done = subprocess.run([sys.executable, "-c", KILLED, shown], check=False, timeout=60)

    assert done.returncode == -9
    assert texts(asyncio.run(reopen().load_since(KEY, 0))) == numbered(*range(1, 51))


# PostgreSQL


@pytest.mark.parametrize("undo", ["DISABLE", "NO FORCE"])
@pytest.mark.parametrize("table", ["threads", "events", "archived_events"])
def test_tables_without_forced_row_level_security_take_nothing(
    pg: Any, postgres_server: postgres.Postgres, table: str, undo: str
) -> None:
    import psycopg

    from wakelog.audit import PostgresSessionLog

    with psycopg.connect(postgres_server.app, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE wakelog.{table} {undo} ROW LEVEL SECURITY")
    log = PostgresSessionLog(postgres_server.app)

    with pytest.raises(SessionLogError, match=rf"not forced on wakelog\.{table}.*create_schema"):
        asyncio.run(fill(log, 1))
    with psycopg.connect(postgres_server.admin) as connection:
        row = connection.execute("SELECT count(*) FROM wakelog.events").fetchone()
    asyncio.run(log.create_schema())
    asyncio.run(fill(log, 1))
    log.close()

    assert row == (0,)


@pytest.mark.parametrize("role", ["superuser", "bypass", "app"])
def test_a_login_that_no_policy_binds_is_said_once(
    pg: Any,
    postgres_server: postgres.Postgres,
    caplog: pytest.LogCaptureFixture,
    role: str,
) -> None:
    import psycopg

    from wakelog.audit import PostgresSessionLog

    with psycopg.connect(postgres_server.admin, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS bypass")
        connection.execute("CREATE ROLE bypass LOGIN BYPASSRLS IN ROLE app")
    login = {
        "superuser": postgres_server.admin,
        "app": postgres_server.app,
        "bypass": postgres_server.app.replace("user=app", "user=bypass"),
    }[role]
    log = PostgresSessionLog(login)
    asyncio.run(fill(log, 2))
    log.close()  # so that the next one connects anew
    asyncio.run(fill(log, 2))
    log.close()

    said = [record.getMessage() for record in caplog.records if "BYPASSRLS" in record.getMessage()]
    assert len(said) == (0 if role == "app" else 1)


def test_the_server_hides_other_tenants_from_a_query_that_names_none(
    pg: Any, postgres_server: postgres.Postgres
) -> None:
    import psycopg

    asyncio.run(fill(pg, 3))
    asyncio.run(fill(pg, 2, ThreadKey("rival", "t-1")))
    asyncio.run(pg.archive_before(KEY, 1))

    with psycopg.connect(postgres_server.app, autocommit=True) as connection:
        for table in ("threads", "events", "archived_events"):
            every = f"SELECT tenant_id FROM wakelog.{table}"
            assert connection.execute(every).fetchall() == []
            with connection.transaction():
                connection.execute("SELECT set_config('wakelog.tenant_id', 'acme', true)")
                assert {row[0] for row in connection.execute(every)} == {"acme"}
                columns = (
                    "('rival', 't-2', 9)" if table == "threads" else "('rival', 't-2', 9, '{}')"
                )
                theirs = f"INSERT INTO wakelog.{table} VALUES {columns}"
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(theirs)


def test_a_server_that_was_restarted_between_two_appends_costs_none(
    pg: Any, postgres_server: postgres.Postgres
) -> None:
    asyncio.run(pg.append(KEY, [said("m1")]))

    postgres_server.restart()

    assert asyncio.run(pg.append(KEY, [said("m2")])) == 2


def test_a_server_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    from wakelog.audit import PostgresSessionLog

    log = PostgresSessionLog(f"host={tmp_path} dbname=none", connect_timeout=2)

    with pytest.raises(SessionLogError, match="cannot append to the session log in PostgreSQL"):
        asyncio.run(log.append(KEY, [said("m1")]))


def test_making_the_schema_twice_at_once_is_harmless(pg: Any) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(pg.create_schema() for _ in range(4)))
        assert await pg.append(KEY, [said("m1")]) == 1

    asyncio.run(scenario())


# SQLite


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(SessionLogError, match="99"):
        asyncio.run(SQLiteSessionLog(tmp_path / "log.db").append(KEY, [said("m1")]))


def test_sqlite_says_that_it_has_no_periodic_durability(tmp_path: Path) -> None:
    with pytest.raises(SessionLogError, match="PERIODIC"):
        SQLiteSessionLog(tmp_path / "log.db", "periodic")


# Imports

LIGHT = """
import sys
import wakelog.audit
heavy = [name for name in ("opentelemetry.sdk", "psycopg", "structlog") if name in sys.modules]
assert not heavy, heavy
sys.modules["psycopg"] = None
try:
    wakelog.audit.PostgresSessionLog("host=db")
except wakelog.ConfigurationError as error:
    print(error)
"""


def test_the_package_is_light_and_says_which_extra_postgres_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIGHT], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "pip install 'wakelog[postgres]'" in done.stdout


def open_at_once(folder: Path, files: int, start: Any) -> None:
    for number in range(files):
        log = SQLiteSessionLog(folder / f"{number}.db")
        start.wait(60)
        asyncio.run(log.append(KEY, [said("first")]))
        log.close()


COMES_AND_GOES = """
import os, sys
while True:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(sys.argv[1])
"""


def test_a_journal_of_sqlite_that_comes_and_goes_is_not_a_link(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    other = subprocess.Popen([sys.executable, "-c", COMES_AND_GOES, f"{path}-journal"])
    try:
        until((tmp_path / "a.db-journal").exists, "the other process")
        for _ in range(20_000):
            check_for_sqlite(path)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_processes_that_open_a_new_sqlite_file_at_once_all_get_in(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes, files = 4, 200
    start = context.Barrier(processes)
    workers = [
        context.Process(target=open_at_once, args=(tmp_path, files, start))
        for _ in range(processes)
    ]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0] * processes
    for number in range(files):
        found = asyncio.run(SQLiteSessionLog(tmp_path / f"{number}.db").load_since(KEY))
        assert [one.ordinal for one in found] == list(range(1, processes + 1))


class _RaisingHash(type):
    def __hash__(cls) -> int:
        raise RuntimeError("no hash")


class _Unhashed(metaclass=_RaisingHash):
    pass


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"payload": {"text": 'ü "', "n": 3, "list": [1, None, {"deep": True}]}},
        {"payload": {"lone": "\ud83d", "large": 2**70, "nan": math.nan, "bytes": b"x"}},
        {"payload": {"$wakelog": "float", "value": "NaN"}},
        {
            "payload": {3: "three"},
            "risk": {"level": math.inf},
            "metadata": {"at": datetime.now(UTC)},
        },
        {"attributes": {"$wakelog": "x", 1: 2}, "status": "\ud83d"},
        {"model": 2**70},
        {"schema_version": math.nan, "run_id": "r"},
        {"agent_name": object, "tool_name": _Unhashed()},
    ],
)
def test_an_event_that_is_checked_part_by_part_has_the_same_content(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = AgentEvent("memory_recall", event_id="e", time_unix_nano=1, **fields)
    monkeypatch.setattr(_codec, "native", None)

    content = _codec.content_of(event)

    monkeypatch.setattr(_codec, "_is_json", lambda *_: False)
    assert content == _codec.content_of(event)


@pytest.mark.parametrize("event_id", ["e-1", "ü", "\ud83d", "", 7, type("Id", (str,), {})("e")])
def test_the_id_of_an_event_is_as_on_any_line(event_id: Any) -> None:
    event = AgentEvent("memory_recall")
    event.event_id = event_id

    found = _codec.id_of(event)

    assert (found, type(found)) == (str(to_line(event_id)), str)
