"""`query` and `export`: answers over the index and over Parquet, and each kind of value."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry._logs import LogRecord
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource

from tests.cli.test_cli import environment, recorder, run
from tests.support.recorded_runs import data, journal, printed
from wakelog import AgentLogger, DurableLogRecordProcessor, JSONLSink
from wakelog.cli import main
from wakelog.index.sql import COLUMNS
from wakelog.journal import read

__all__ = ["journal"]


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
