"""List and search sessions, or runs, with their totals.

The newest come first, unless --sort sets another order. Filters select the sessions, or runs, that have
such events. A terminal shows the first 20, unless --limit sets another number.

With --json:
  {"sessions": [SESSION], "count"} or, with --runs, {"runs": [RUN], "count"}
count is the number without --limit. SESSION is {"id", "runs", "agents", "events", "errors",
"tool_calls", "model_calls", "start", "duration_ms", "input_tokens", "output_tokens",
"cache_read_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens", "cost_usd"}.
Its id is null for the runs without a session. RUN has "session" and "outcome" in place
of "runs". The outcome is the recorded one, "running" while the process lives, or "unknown" if the process died before the run
ended.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from wakelog._printable import printable
from wakelog.cli._filters import add_filters, asked, selection_of
from wakelog.cli._indexed import opened
from wakelog.cli._parser import whole_number
from wakelog.cli._paths import add_json, add_path, print_json, source_of
from wakelog.cli._table import aligned
from wakelog.cli._words import cost_text, count_text, duration_text, time_text
from wakelog.errors import WakelogError
from wakelog.index import SORTS, Index, Selection, Summary
from wakelog.journal import is_owned

_FIRST: Final = 20
_LONGEST_ID: Final = 40
_LONGEST_AGENTS: Final = 30
_RUNNING, _UNKNOWN = "running", "unknown"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument("--runs", action="store_true", help="list runs instead of sessions")
    parser.add_argument(
        "--sort", choices=SORTS, default="time", help="sort by this, greatest first"
    )
    parser.add_argument("--limit", type=whole_number, metavar="N", help="only the first N")
    add_filters(parser)
    add_json(parser, instead_of="the list")


def run(arguments: argparse.Namespace) -> int:
    """List sessions or runs.

    Raises:
        WakelogError: If there is nothing to read, or nothing matches the filters.
    """
    path = source_of(arguments)
    selection = selection_of(arguments)
    limit = arguments.limit
    if limit is None and sys.stdout.isatty() and not arguments.json:
        limit = _FIRST
    with opened(path) as index:
        listed = index.runs if arguments.runs else index.sessions
        found, count = listed(selection, sort=arguments.sort, limit=limit)
        if not found and selection != Selection() and not count:
            unit = "run" if arguments.runs else "session"
            raise WakelogError(f"there is no {unit} with {asked(selection)} in {path}")
        rows = [_with_outcome(index, one) for one in found]
    if arguments.json:
        plain = [
            {**one.to_dict(), **({"outcome": outcome} if arguments.runs else {})}
            for one, outcome in rows
        ]
        print_json({"runs" if arguments.runs else "sessions": plain, "count": count})
        return 0
    if not rows:
        sys.stdout.write(f"There are no {'runs' if arguments.runs else 'sessions'}.\n")
        return 0
    cells = [_run(one, outcome) if arguments.runs else _session(one) for one, outcome in rows]
    titles = _RUN_TITLES if arguments.runs else _SESSION_TITLES
    sys.stdout.write("\n".join(aligned(titles, cells)) + "\n")
    if count > len(rows):
        sys.stdout.write(f"{count - len(rows):,} more; --limit says how many are shown.\n")
    return 0


def _with_outcome(index: Index, one: Summary) -> tuple[Summary, str | None]:
    if one.runs is not None or one.outcome is not None or not one.open:
        return one, one.outcome
    folder = index.folder_of(one.segment)
    return one, _RUNNING if folder is not None and is_owned(folder) else _UNKNOWN


_SESSION_TITLES: Final = (
    "session", "start", "took", ">runs", ">events", ">errors", ">tools", ">tokens", ">cost", "agents",
)  # fmt: skip
_RUN_TITLES: Final = (
    "run", "start", "took", "outcome", ">events", ">errors", ">tools", ">tokens", ">cost", "agents",
    "session",
)  # fmt: skip


def _session(one: Summary) -> list[str]:
    name = "(none)" if one.id is None else one.id
    return [name[:_LONGEST_ID], *_times(one), f"{one.runs or 0:,}", *_figures(one), _agents(one)]


def _run(one: Summary, outcome: str | None) -> list[str]:
    ids = ((one.id or "")[:_LONGEST_ID], *_times(one))
    session = (one.session or "-")[:_LONGEST_ID]
    return [*ids, printable(outcome or "-"), *_figures(one), _agents(one), session]


def _times(one: Summary) -> list[str]:
    return [time_text(one.start), duration_text(one.duration)]


def _figures(one: Summary) -> list[Any]:
    tokens = one.tokens
    return [
        f"{one.events:,}",
        f"{one.errors:,}",
        f"{one.tool_calls:,}",
        count_text(tokens.total),
        cost_text(tokens.cost_usd),
    ]


def _agents(one: Summary) -> str:
    names = ", ".join(one.agents)
    return names if len(names) <= _LONGEST_AGENTS else names[: _LONGEST_AGENTS - 1] + "…"
