"""Finding things from the command line: through real processes, as a user would."""

from __future__ import annotations

import contextvars
import csv
import io
import json
import logging
import math
import os
import pty
import re
import shlex
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry._logs import LogRecord
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource

from tests.cli.test_cli import SECONDS, directory, environment, recorder, run, tail
from tests.conftest import ROOT
from wakelog import AgentEvent, AgentLogger, DurableLogRecordProcessor, JSONLSink, OTelSink
from wakelog.cli import main
from wakelog.index.sql import COLUMNS
from wakelog.integrations.logging import WakelogHandler
from wakelog.journal import books, read
from wakelog.storage import segments
from wakelog.viewer import load

__all__ = ["directory", "tail"]

PROMPT = "Which flight leaves\nfor Lisbon? \x1b[31m" + "word " * 200


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    root = tmp_path / "journal"
    with recorder(root) as log:
        log.emit("custom", {"note": "before everything"})
        for number in range(3):
            with log.run("book", session_id=f"s-{number}", run_id=f"run-{number}"):
                with log.model("gpt-4o", "openai", input=PROMPT) as call:
                    call.respond("TP 571", input_tokens=100 * (number % 2), output_tokens=10)
                try:
                    with log.tool("book", {"seat": "14C"}):
                        raise TimeoutError("too slow")
                except TimeoutError:
                    pass
    return root


def printed(*arguments: object, **more: str) -> str:
    done = run(*arguments, **more)
    assert (done.returncode, done.stderr) == (0, ""), arguments
    return done.stdout


def data(*arguments: object, **more: str) -> Any:
    return json.loads(printed(*arguments, "--json", **more))


def on_a_terminal(*arguments: object, **more: str) -> str:
    """Run a command on a terminal of 100 columns and 40 lines, and return what it shows."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wakelog.cli", *map(str, arguments)],
        env=environment(COLUMNS="100", LINES="40", TERM="xterm", **more),
        stdin=other,
        stdout=other,
        stderr=subprocess.PIPE,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(main)
    _, error = process.communicate(timeout=SECONDS)
    assert (process.returncode, error) == (0, b"")
    return shown.decode().replace("\r\n", "\n")


# --- the questions of the documentation

QUESTIONS = re.findall(
    r"^\| (.+?) \| `(wakelog [^`]+)` \|$",
    (ROOT / "docs" / "command-line.md").read_text("utf-8").partition("## Questions")[2],
    re.MULTILINE,
)


def record_what_is_asked(root: Path) -> None:
    """Record a journal in which each question of the page has an answer, and what is no answer."""
    noon = datetime.combine(date.today(), clock(0, 30)).astimezone()
    with recorder(root) as log:
        for day, tool in ((2, "older"), (1, "lookup"), (0, "newer")):
            when = int((noon - timedelta(days=day)).timestamp() * 1e9)
            for kind, status in (("tool_call", "started"), ("tool_result", "error")):
                log.sink.write(
                    AgentEvent(
                        kind, tool_name=tool, status=status, run_id=f"r-{day}", time_unix_nano=when
                    )
                )
        for run, tokens in (("run-1", 900), ("run-2", 100)):
            with log.run(run_id=run, session_id="s-1"):
                with log.model("gpt-4o", "openai", input=f"{PROMPT} order 4711") as call:
                    call.respond("yes", input_tokens=tokens, output_tokens=1)
                try:
                    with log.tool("pay", {}):
                        raise TimeoutError("too slow")
                except TimeoutError:
                    pass


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A journal in which each question of the page has an answer, and what is no answer."""
    record_what_is_asked(tmp_path)
    return tmp_path


ANSWERS = {
    "which tool calls failed yesterday": ("lookup", "older newer pay"),
    "what did a session cost": ("s-1", "s-2"),
    "is anything undelivered": ("kept here 18", "balances"),
    "which run used the most tokens": ("run-1", "run-2"),
    "what was the whole prompt of a call": ("for Lisbon?", "TimeoutError"),
    "which tools are slow": ("pay", "nothing"),
    "which events contain a text": ("run-1", "lookup pay"),
}


@pytest.mark.parametrize("question", ANSWERS)
def test_each_question_of_the_page_is_answered_by_its_command(question: str, asked: Path) -> None:
    command = dict(QUESTIONS)[question]

    text = printed(*shlex.split(command)[1:], WAKELOG_DIR=str(asked))

    right, wrong = ANSWERS[question]
    assert right in text
    assert not [word for word in wrong.split() if word in text]


def test_what_fails_is_seen_as_it_happens(asked: Path, tail: Any) -> None:
    command = dict(QUESTIONS)["what failed in the last hour, and fails from now on"]
    following = tail(*shlex.split(command)[2:], asked)

    lines = [following.line() for _ in range(2)]
    # Half past midnight may be less than an hour ago.
    lines = [line for line in lines if "newer" not in line] or [following.line()]

    assert all("tool_result" in line and "pay" in line for line in lines)
    assert len(QUESTIONS) == len(ANSWERS) + 1


# --- show


def test_into_a_pipe_and_as_json_show_is_everything(journal: Path) -> None:
    assert data("show", journal) == {**load(journal).to_dict(), "spans": []}
    text = printed("show", journal)
    assert [text.count(f"run-{number}") for number in range(3)] == [1, 1, 1]
    assert "before everything" in text
    assert "\x1b" not in text


def test_on_a_terminal_it_is_the_newest_run_and_what_is_outside_runs(journal: Path) -> None:
    shown = on_a_terminal("show", journal)

    assert "run-2" in shown
    assert "run-1" not in shown
    assert "before everything" in shown
    assert "3 runs are recorded: wakelog sessions --runs" in shown
    assert "\x1b[31m" in shown  # the failed call is red
    assert "run-1" in on_a_terminal("show", "--all", journal)
    assert "before everything" not in on_a_terminal("show", "--last", journal, NO_COLOR="1")


def test_what_does_not_fit_on_a_terminal_goes_through_the_pager(journal: Path) -> None:
    pager = "sh -c 'echo paged; cat'"

    assert "paged" in on_a_terminal("show", "--all", "--full", journal, PAGER=pager)
    assert "paged" not in on_a_terminal(
        "show", "--all", "--full", "--no-pager", journal, PAGER=pager
    )
    assert "paged" not in on_a_terminal("show", "--last", journal, PAGER=pager)


def test_filters_show_each_event_with_its_answer_in_its_run(journal: Path) -> None:
    view = data("show", "--errors", "--type", "tool_call", "--run", "run-1", journal)

    (session,) = view["sessions"]
    (shown,) = session["runs"]
    (step,) = shown["steps"]
    assert (shown["id"], step["name"], step["status"]) == ("run-1", "book", "error")
    assert step["exception"] is None or step["exception"]["type"] == "TimeoutError"
    assert data("show", "--session", "s-0", "--tool", "book", journal)["sessions"][0]["id"] == "s-0"


def test_full_shows_a_whole_prompt_and_steers_no_terminal(journal: Path) -> None:
    text = printed("show", "--last", "--type", "model_call", "--full", journal)

    assert "Which flight leaves" in text
    assert "for Lisbon? \\x1b[31m" + "word " * 200 in text
    assert "gen_ai.usage.input_tokens: 0" in text


def test_a_model_call_says_what_it_used(journal: Path) -> None:
    (session,) = data("show", "--session", "s-1", journal)["sessions"]
    model = next(step for step in session["runs"][0]["steps"] if step["type"] == "model_call")

    assert model["usage"] == {"input_tokens": 100, "output_tokens": 10}


@pytest.mark.parametrize(
    "line",
    [
        ["show", "--tool", "nobody"],
        ["show", "--text", "nowhere"],
        ["stats", "--agent", "nobody"],
        ["sessions", "--run", "nothing"],
        ["show", "--since", "today", "--until", "yesterday"],
    ],
)
def test_a_filter_that_nothing_fits_is_said(line: list[str], journal: Path) -> None:
    done = run(*line, journal)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wakelog: there is no ")
    assert done.stderr.count("\n") == 1


def test_a_time_that_is_none_is_refused(journal: Path) -> None:
    done = run("show", "--since", "whenever", journal)

    assert done.returncode == 2
    assert "'whenever' is not a time" in done.stderr


# --- sessions, stats, tail


def test_sessions_and_runs_are_listed_with_what_they_add_up_to(journal: Path) -> None:
    found = data("sessions", "--sort", "tokens", "--limit", "2", journal)
    runs = data("sessions", "--runs", "--sort", "tokens", "--limit", "1", journal)

    assert found["count"] == 3
    assert found["sessions"][0]["id"] == "s-1"
    assert len(found["sessions"]) == 2
    (most,) = runs["runs"]
    assert (most["id"], most["session"], most["outcome"]) == ("run-1", "s-1", "success")
    assert (most["input_tokens"], most["errors"], most["tool_calls"]) == (100, 1, 1)
    assert "run-1" in printed("sessions", "--runs", "--text", "lisbon", "--run", "run-1", journal)


def test_a_run_whose_process_lives_is_running_and_one_that_died_is_unknown(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        # In a context of its own, because it never ends.
        contextvars.copy_context().run(log.run(run_id="run-1").__enter__)
        assert data("sessions", "--runs", tmp_path)["runs"][0]["outcome"] == "running"
    assert data("sessions", "--runs", tmp_path)["runs"][0]["outcome"] == "unknown"


def test_stats_add_up_a_selection(journal: Path) -> None:
    found = data("stats", "--session", "s-1", journal)

    assert (found["runs"], found["sessions"], found["input_tokens"]) == (1, 1, 100)
    (tool,) = found["tools"]
    assert (tool["name"], tool["calls"], tool["errors"]) == ("book", 1, 1)
    assert tool["latency"]["count"] == 1
    assert found["error_names"] == [{"name": "TimeoutError", "events": 1}]
    assert sum(part["events"] for part in found["timeline"]) == found["events"]
    assert "gpt-4o" in printed("stats", journal)


def test_tail_lets_through_what_the_filters_do(journal: Path, tail: Any) -> None:
    following = tail("--from-start", "--errors", "--json", journal)

    assert [json.loads(following.line())["event_name"] for _ in range(3)] == [
        "wakelog.tool_result"
    ] * 3


# --- query


def test_a_question_has_the_same_answer_over_the_index_and_over_parquet(journal: Path) -> None:
    asked = "SELECT {} FROM events ORDER BY writer, line_offset".format(", ".join(COLUMNS[1:]))

    over_index, over_parquet = (
        data("query", asked, "--over", over, journal) for over in ("index", "parquet")
    )

    assert len(over_parquet) == len(list(read(journal)))
    for row in over_index:
        row["failed"] = bool(row["failed"])
    assert over_index == over_parquet


def test_each_kind_of_value_of_an_answer_is_shown(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = """
        SELECT 1234567 AS many, 0.25::DOUBLE AS share, 1234.5::DOUBLE AS sum, NULL AS nothing,
          true AS yes, DATE '2026-03-29' AS day, TIMESTAMP '2026-03-29 10:00:00' AS moment,
          [1, 2] AS list, {'a': DATE '2026-03-29'} AS object, 'ab'::BLOB AS bytes,
          repeat('x', 80) AS long, 1.50::DECIMAL(4, 2) AS exact
    """

    assert main(["query", sql, str(journal)]) == 0
    table = capsys.readouterr().out
    assert main(["query", sql, str(journal), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)

    assert row == {
        "many": 1234567,
        "share": 0.25,
        "sum": 1234.5,
        "nothing": None,
        "yes": True,
        "day": "2026-03-29",
        "moment": "2026-03-29T10:00:00Z",
        "list": [1, 2],
        "object": {"a": "2026-03-29"},
        "bytes": b"ab".hex(),
        "long": "x" * 80,
        "exact": "1.50",
    }
    titles, shown = table.splitlines()
    assert titles.split() == list(row)
    for text in ("1,234,567", "0.25", "1,234.500", " - ", "[1, 2]", "x" * 59 + "…", "1.50"):
        assert text in shown
    assert "x" * 60 not in shown


def test_an_answer_of_many_rows_and_one_of_none_are_shown(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", "SELECT range AS n FROM range(1200)", str(journal)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["query", "SELECT 1 AS n WHERE false", str(journal)]) == 0

    assert [line.strip() for line in lines if line.strip() != "n"] == [
        f"{number:,}" for number in range(1200)
    ]
    assert capsys.readouterr().out.split() == ["n"]


def test_a_live_journal_is_asked_while_its_writer_writes(tmp_path: Path) -> None:
    count = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM events"
    slowest, stop = 0.0, threading.Event()

    def write() -> None:
        nonlocal slowest
        with recorder(tmp_path) as log:
            while not stop.is_set():
                begin = time.perf_counter()
                log.decision("go", session_id="s-1")
                slowest = max(slowest, time.perf_counter() - begin)
                time.sleep(0.001)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        while not list(tmp_path.glob("*/*.jsonl")):
            time.sleep(0.01)
        seen = [data("query", count, tmp_path)[0] for _ in range(3)]
    finally:
        stop.set()
        writing.join()
    (last,) = data("query", count, tmp_path)

    assert all(one["n"] == one["ids"] for one in (*seen, last))
    assert [one["n"] for one in seen] == sorted(one["n"] for one in seen)
    assert last["n"] == len(list(read(tmp_path)))
    assert slowest < 30  # no lock of a reader's is waited for; the machine may be busy


def test_what_is_deleted_is_in_no_copy(tmp_path: Path) -> None:
    for _ in range(2):
        with recorder(tmp_path) as log:
            log.decision("go")
    assert data("query", "SELECT count(*) AS n FROM events", tmp_path) == [{"n": 2}]
    next(tmp_path.glob("*/00000001.jsonl")).unlink()

    assert data("query", "SELECT count(*) AS n FROM events", tmp_path) == [{"n": 1}]


@pytest.mark.parametrize(
    "sql, over",
    [
        ("DELETE FROM events", "index"),
        ("ATTACH '/tmp/x.db' AS x", "index"),
        ("PRAGMA query_only = OFF", "index"),
        ("SELECT 1; SELECT 2", "index"),
        ("SELEC 1", "index"),
        ("SELEC 1", "parquet"),
        ("SELECT * FROM read_csv('/etc/passwd')", "parquet"),
        ("COPY events TO '/tmp/wakelog-test-copy.csv'", "parquet"),
        ("ATTACH '/tmp/x.db' AS x", "parquet"),
        ("SET enable_external_access = true", "parquet"),
    ],
)
def test_a_query_only_reads(sql: str, over: str, journal: Path) -> None:
    done = run("query", sql, "--over", over, journal)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("wakelog: the query cannot be answered: ")
    assert not Path("/tmp/wakelog-test-copy.csv").exists()


def test_without_duckdb_the_message_names_the_extra_and_the_other_way(journal: Path) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from wakelog.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    line = [sys.executable, "-c", code, "query", "SELECT 1 AS one", str(journal)]

    refused = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    answered = subprocess.run(
        [*line, "--over", "index", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert refused.returncode == 1
    assert "pip install 'wakelog[query]'" in refused.stderr
    assert json.loads(answered.stdout) == [{"one": 1}]


# --- export


def test_what_is_exported_as_otlp_is_what_was_recorded(journal: Path) -> None:
    requests = [Parse(line, ExportLogsServiceRequest()) for line in printed("export", journal).splitlines()]  # fmt: skip

    records = [
        record
        for request in requests
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    expected = [entry.record for entry in read(journal)]
    assert len(records) == len(expected)
    for got, wanted in zip(records, expected, strict=True):
        assert (got.time_unix_nano, got.event_name) == (wanted.timestamp, wanted.event_name)
        assert (got.trace_id.hex(), got.span_id.hex()) == (
            _in_otlp_json(wanted.trace_id),
            _in_otlp_json(wanted.span_id),
        )
        given = {pair.key: pair.value for pair in got.attributes}
        assert given["log.record.uid"].string_value == wanted.id
        assert given.keys() >= wanted.attributes.keys()


def test_each_kind_of_value_is_exported_as_protobuf_has_it_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {
        "none": None,
        "yes": True,
        "one": 1,
        "least": -(1 << 63),
        "half": 0.5,
        "text": "a",
        "bytes": b"ab",
        "list": [1, None],
        "inf": float("-inf"),
        "nan": float("nan"),
    }
    provider = LoggerProvider(Resource({"service.name": "shop"}, "https://resource"))
    provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=tmp_path))
    logger = provider.get_logger("lib", "1.2", "https://scope", {"a": 1})
    logger.emit(LogRecord(body=body, severity_text="WARN"))
    provider.shutdown()

    assert main(["export", "--format", "otlp", str(tmp_path)]) == 0
    line = capsys.readouterr().out

    request = Parse(line, ExportLogsServiceRequest())
    [resource] = request.resource_logs
    [scope] = resource.scope_logs
    [record] = scope.log_records
    assert (resource.schema_url, scope.schema_url) == ("https://resource", "https://scope")
    assert (scope.scope.name, scope.scope.version) == ("lib", "1.2")
    assert scope.scope.attributes[0].value.int_value == 1
    assert record.severity_text == "WARN"
    found = {pair.key: pair.value for pair in record.body.kvlist_value.values}
    assert found.keys() == body.keys()
    assert found["none"].WhichOneof("value") is None
    assert (found["yes"].bool_value, found["one"].int_value) == (True, 1)
    assert (found["least"].int_value, found["half"].double_value) == (-(1 << 63), 0.5)
    assert (found["text"].string_value, found["bytes"].bytes_value) == ("a", b"ab")
    assert [one.WhichOneof("value") for one in found["list"].array_value.values] == [
        "int_value",
        None,
    ]
    assert found["inf"].double_value == float("-inf")
    assert math.isnan(found["nan"].double_value)


def _in_otlp_json(digits: str | None) -> str:
    """What protobuf's own JSON, which takes ids for base64, makes of an id in hexadecimal."""
    import base64

    return base64.b64decode(digits or "").hex()


def test_export_takes_filters_and_has_csv_and_lines_of_json(journal: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(printed("export", "--format", "csv", "--errors", journal))))  # fmt: skip
    lines = [json.loads(line) for line in printed("export", "--json", journal).splitlines()]

    assert [(row["tool"], row["error"]) for row in rows] == [("book", "TimeoutError")] * 3
    assert [line["id"] for line in lines] == [entry.record.id for entry in read(journal)]


def test_a_cell_is_no_formula(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    AgentLogger("=cmd()", sink=JSONLSink(path)).decision("@SUM(1)")

    (row,) = csv.DictReader(io.StringIO(printed("export", "--format", "csv", path)))

    assert row["agent"] == "'=cmd()"
    assert row["summary"] == "'@SUM(1)"


@pytest.mark.parametrize(
    "line", ["show --json", "sessions --json", "stats --json", "export", "export --json", "export --format csv"]
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_programs_read_utf8_whatever_a_terminal_could_show(
    tmp_path: Path, line: str, encoding: str
) -> None:
    path = tmp_path / "events.jsonl"
    AgentLogger("agént 🙂", sink=JSONLSink(path)).decision("oui", session_id="sé")

    shown = printed(*line.split(), path, PYTHONIOENCODING=encoding)

    assert shown == printed(*line.split(), path, PYTHONIOENCODING="utf-8")
    if "csv" in line:
        assert "agént 🙂" in shown
    else:
        text = json.dumps(json.loads(shown), ensure_ascii=False)
        assert "sé" in text or "agént 🙂" in text


def test_values_as_deep_as_a_journal_takes_are_exported(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    deep: Any = 1
    for level in range(190):
        deep = {"a": deep} if level % 2 else [deep]
    AgentLogger("clerk", sink=JSONLSink(path)).tool_call("look", {"at": deep})

    (request,) = map(json.loads, printed("export", path).splitlines())

    assert str(request).count("kvlistValue") >= 48
    assert str(request).count("arrayValue") >= 48


# --- prune and repair


def aged(root: Path) -> None:
    """Have all segments written two weeks ago."""
    then = time.time() - 14 * 86_400
    for path in root.glob("*/*.jsonl"):
        os.utime(path, (then, then))


def test_prune_deletes_what_is_delivered_and_only_when_told_to(tmp_path: Path) -> None:
    with recorder(tmp_path, delivering=True) as log:
        log.decision("go")
        assert log.flush()
    with recorder(tmp_path) as log:
        log.decision("not delivered")
    aged(tmp_path)

    would = data("prune", tmp_path)
    assert (would["applied"], would["segments"], would["undelivered"]) == (False, 1, 0)
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 2
    did = data("prune", "--apply", tmp_path)
    assert (did["applied"], did["segments"], did["bytes"]) == (True, 1, would["bytes"])
    assert [entry.record.attributes["wakelog.decision.text"] for entry in read(tmp_path)] == [
        "not delivered"
    ]
    assert data("prune", "--older-than", "4w", tmp_path)["segments"] == 0
    assert data("status", tmp_path)["balances"]

    assert data("prune", "--apply", "--undelivered", tmp_path)["undelivered"] == 1
    assert list(read(tmp_path)) == []
    status = data("status", tmp_path)
    assert (status["balances"], status["total"]["evicted"]) == (True, 1)


def test_prune_leaves_what_is_being_written(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")
        aged(tmp_path)
        assert data("prune", "--undelivered", tmp_path)["segments"] == 0


FAULTS = {
    "wakelog.json": b"{",
    "swept": b"nothing",
    "owner": b'{"service":',
    "ledger": b"{}",
    "deleted": b"hello\n",
    "dead_letters.jsonl": b'{"id": "1"}\n{"id":\n',
}


@pytest.mark.parametrize("name", FAULTS)
def test_repair_moves_a_file_aside_that_says_nothing(name: str, directory: Path) -> None:
    folder = directory if name in ("wakelog.json", "swept") else books(directory)[0].writer
    path = directory / folder / name
    path.write_bytes(FAULTS[name])
    ids = [entry.record.id for entry in read(directory)]

    found = run("repair", "--json", directory)
    (fault,) = json.loads(found.stdout)["faults"]
    assert (found.returncode, fault["file"], fault["done"]) == (1, str(path), False)
    assert path.read_bytes() == FAULTS[name]

    assert data("repair", "--apply", directory)["faults"][0]["done"] is True
    assert data("repair", directory)["faults"] == []
    assert [entry.record.id for entry in read(directory)] == ids
    aside = [one.read_bytes() for one in path.parent.glob(f"{name}.damaged*")]
    assert aside == [FAULTS[name]] or aside == [b'{"id":\n']
    if name == "owner":
        assert b'"service"' in path.read_bytes()
    assert data("status", directory)["total"]["accepted"] >= len(ids)


def test_repair_copies_damaged_lines_aside_and_changes_no_segment(directory: Path) -> None:
    folder = directory / books(directory)[0].writer
    (index,) = segments(folder)
    path = folder / f"{index:08d}.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) + b'{"id":"torn')
    ids = [entry.record.id for entry in read(directory)]

    assert {one["file"] for one in json.loads(run("repair", "--json", directory).stdout)["faults"]} == {str(path)}  # fmt: skip
    assert all(one["done"] for one in data("repair", "--apply", directory)["faults"])
    assert data("repair", directory)["faults"] == []
    assert path.read_bytes() == bytes(content) + b'{"id":"torn'
    assert path.with_suffix(".torn").read_bytes() == b'{"id":"torn'
    (damaged,) = path.with_suffix(".damaged").read_bytes().splitlines()
    assert damaged in bytes(content)
    assert [entry.record.id for entry in read(directory)] == ids


def test_repair_leaves_what_is_being_written(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")
        next(tmp_path.glob("*/owner")).write_bytes(b"{")
        done = data("repair", "--apply", tmp_path)

    assert [one["done"] for one in done["faults"]] == [None]


# --- doctor


def found_by_doctor(*arguments: object, **more: str) -> dict[str, list[dict[str, str]]]:
    done = run("doctor", "--json", *arguments, **more)
    assert done.stderr == ""
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(done.stdout)["checks"]:
        found.setdefault(check["name"], []).append(check)
    statuses = {check["status"] for checks in found.values() for check in checks}
    assert done.returncode == ("problem" in statuses)
    return found


def test_doctor_finds_nothing_wrong_with_what_is_well(directory: Path, collector: Any) -> None:
    for protocol, endpoint in (
        ("http/protobuf", collector.http_endpoint),
        ("grpc", collector.grpc_endpoint),
    ):
        found = found_by_doctor(directory, "--endpoint", endpoint, "--protocol", protocol)

        (destination,) = found["destination"]
        assert destination["status"] == "ok", destination
        names = ("variables", "versions", "directory", "permissions", "disk", "damage")
        assert {found[name][0]["status"] for name in names} == {"ok"}


def test_doctor_says_what_is_wrong_and_what_to_do(directory: Path) -> None:
    directory.chmod(0o755)
    next(directory.glob("*/owner")).write_bytes(b"{")
    found = found_by_doctor(
        directory,
        WAKELOG_DURABILTY="fsync",
        OTEL_EXPORTER_OTLP_ENPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )

    hints = [check["hint"] for check in found["variables"]]
    assert hints == [
        "Did you mean WAKELOG_DURABILITY?",
        "Did you mean OTEL_EXPORTER_OTLP_ENDPOINT?",
    ]
    (destination,) = found["destination"]
    assert destination["status"] == "problem"
    assert "refuses connections" in destination["what"]
    assert "chmod 700" in found["permissions"][0]["hint"]
    assert found["damage"][0]["hint"] == "wakelog repair moves it aside"
    assert found["books"][0]["status"] == "warning"


def test_doctor_says_where_there_is_no_journal(tmp_path: Path) -> None:
    found = found_by_doctor(tmp_path / "nothing")

    assert found["directory"][0]["status"] == "problem"
    assert found["destination"][0]["status"] == "warning"


def test_doctor_finds_a_logger_that_is_recorded_twice(tmp_path: Path) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path / "journal")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = logging.getLogger("tests.recorded_twice")
    logger.setLevel(logging.INFO)
    ours = WakelogHandler(log=AgentLogger("clerk", sink=OTelSink(provider)))
    theirs = LoggingHandler(logger_provider=provider)
    for handler in (ours, theirs):
        logger.addHandler(handler)
    for number in range(5):
        logger.info("order %d", number)
    for handler in (ours, theirs):
        logger.removeHandler(handler)
    processor.shutdown()

    (check,) = found_by_doctor(tmp_path / "journal")["second records"]

    assert check["status"] == "warning"
    assert "5 log calls of 'tests.recorded_twice' are recorded twice" in check["what"]


# --- all of them


@pytest.mark.parametrize(
    "line",
    [["sessions"], ["show"], ["stats"], ["export"], ["query", "SELECT 1", "--over", "index"], ["prune"]],
    ids=lambda line: line[0],
)  # fmt: skip
def test_a_command_that_reads_loads_no_opentelemetry(line: list[str], journal: Path) -> None:
    code = (
        "import sys; from wakelog.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] in ('opentelemetry', 'rich')),"
        " file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line, str(journal)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "\n")


@pytest.mark.parametrize(
    "line", [["show"], ["export"], ["sessions", "--runs"], ["stats", "--json"]]
)
def test_whose_reader_goes_away_ends_quietly(line: list[str], journal: Path) -> None:
    command = [sys.executable, "-m", "wakelog.cli", *line, str(journal)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) in (0, 141)
