"""Query the events with read-only SQL.

SQL is a statement over the table "events", whose columns are those of the index; "-" reads it from
standard input. DuckDB runs it over a copy of the index in Parquet files next to it (needs the extra of that name);
with --over index, SQLite runs it over the index itself. Programs continue to record meanwhile.

With --json, a list of objects: one for each row, with its columns. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wakelog._printable import printable
from wakelog.cli._indexed import Progress, opened
from wakelog.cli._paths import add_json, add_path, print_json_list, source_of
from wakelog.cli._table import aligned

if TYPE_CHECKING:
    from wakelog.index import Index
    from wakelog.index.sql import Answer

_LONGEST: Final = 60
_AT_ONCE: Final = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("sql", metavar="SQL", help="a SELECT over the table events, or -")
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument(
        "--over",
        choices=("parquet", "index"),
        default="parquet",
        help="the source of the data (parquet)",
    )
    add_json(parser, instead_of="the table")


def run(arguments: argparse.Namespace) -> int:
    """Run a query and print the result.

    Raises:
        ConfigurationError: If the query is invalid, or DuckDB is needed and not installed.
        JournalError: If there is nothing to read.
    """
    path = source_of(arguments)
    sql = sys.stdin.read() if arguments.sql == "-" else arguments.sql
    with opened(path) as index, _answer(index, sql, arguments.over) as answer:
        if arguments.json:
            print_json_list(
                {n: _to_json(v) for n, v in zip(answer.columns, row, strict=True)}
                for row in answer.rows
            )
        else:
            _print_table(answer)
    return 0


@contextmanager
def _answer(index: Index, sql: str, over: str) -> Iterator[Answer]:
    if over == "index":
        yield index.ask(sql)
        return
    with _folder_of(index) as folder:
        copy = index.copy(folder)
        try:
            progress = Progress("copying")
            copy.refresh(progress)
            progress.end()
            yield copy.ask(sql)
        finally:
            copy.close()


@contextmanager
def _folder_of(index: Index) -> Iterator[Path]:
    """Yield the folder of the index, or a temporary folder if the index is only in memory."""
    if index.folder is not None:
        yield index.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _print_table(answer: Answer) -> None:
    waiting: list[Sequence[Any]] = []
    count = 0
    for row in answer.rows:
        waiting.append(row)
        count += 1
        if len(waiting) == _AT_ONCE:
            _print_rows(answer.columns, waiting)
            waiting.clear()
    if waiting or not count:
        _print_rows(answer.columns, waiting)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[_text(value) for value in row] for row in rows]
    numbers = [
        all(row[place] is None or isinstance(row[place], int | float) for row in rows)
        for place in range(len(columns))
    ]
    titles = [
        f">{printable(name)}" if number and rows else printable(name)
        for name, number in zip(columns, numbers, strict=True)
    ]
    sys.stdout.write("\n".join(aligned(titles, cells, keep=True)) + "\n")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1 else f"{value:,.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(_to_json(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _to_json(value: object) -> Any:
    """Return a value of a result as plain data."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime):
        return value.isoformat() + ("Z" if value.tzinfo is None else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    return str(value)
