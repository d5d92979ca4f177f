"""Print totals: events, tools, models, agents, tokens, cost, errors and call durations.

Filters restrict the totals to such events. The line of blocks shows their number over time.

With --json:
  {"events", "errors", "runs", "sessions", "first", "last", TOKENS,
   "types": [{"name", "events", "errors"}],
   "tools": [CALLS], "models": [CALLS], "agents": [{"name", "events", "errors", TOKENS}],
   "error_names": [{"name", "events"}], "timeline": [{"events", "errors"}]}
TOKENS are "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens",
"reasoning_output_tokens" and "cost_usd", each null if no record states it. CALLS is
{"name", "calls", "errors", TOKENS, "latency"}; latency is {"count", "p50_ms", "p95_ms", "max_ms"}, with percentiles
accurate to 5 %, or null if no call has ended. timeline divides the time between first and last into equal parts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from wakelog._printable import printable
from wakelog.cli._filters import add_filters, asked, selection_of
from wakelog.cli._indexed import opened
from wakelog.cli._paths import add_json, add_path, print_json, source_of
from wakelog.cli._table import aligned
from wakelog.cli._words import bar, cost_text, count_text, counted, spark, time_text
from wakelog.errors import WakelogError
from wakelog.index import Group, Selection, Stats
from wakelog.viewer.tree import duration

_BAR: Final = 20
_MOST: Final = 12
_ENOUGH: Final = 100  # fewer events do not show a distribution over time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    add_filters(parser)
    add_json(parser, instead_of="the tables")


def run(arguments: argparse.Namespace) -> int:
    """Add up what is recorded.

    Raises:
        WakelogError: If there is nothing to read, or nothing matches the filters.
    """
    path = source_of(arguments)
    selection = selection_of(arguments)
    with opened(path) as index:
        stats = index.stats(selection)
    if not stats.total.events and selection != Selection():
        raise WakelogError(f"there is no event with {asked(selection)} in {path}")
    if arguments.json:
        print_json(stats.to_dict())
        return 0
    sys.stdout.write("\n".join(_lines(stats)) + "\n")
    return 0


def _lines(stats: Stats) -> list[str]:
    total = stats.total
    if not total.events:
        return ["Nothing is recorded yet."]
    said = f"{counted(total.events, 'event')}, {total.errors:,} failed"
    lines = [
        f"{said} · {counted(stats.runs, 'run')}, {counted(stats.sessions, 'session')}",
        f"{time_text(stats.first)} to {time_text(stats.last)}",
    ]
    if total.events >= _ENOUGH:
        lines.append(f"|{spark([events for events, _ in stats.timeline])}|")
    tokens = total.tokens
    if tokens.total is not None:
        said = f"{tokens.input_tokens or 0:,} → {tokens.output_tokens or 0:,} tokens"
        parts = [
            f"{value:,} {what}"
            for value, what in (
                (tokens.cache_read_input_tokens, "read from a cache"),
                (tokens.cache_write_input_tokens, "written to a cache"),
                (tokens.reasoning_output_tokens, "of reasoning"),
            )
            if value is not None
        ]
        lines.append(said + (f" ({', '.join(parts)})" if parts else ""))
    if tokens.cost_usd is not None:
        lines.append(f"cost {cost_text(tokens.cost_usd)}")
    for title, groups in (("tool", stats.tools), ("model", stats.models)):
        lines += _table(
            (title, ">calls", *_TITLES), [_calls(one) for one in groups[:_MOST]], groups
        )
    agents = [
        [*_begin(one), count_text(one.tokens.total), cost_text(one.tokens.cost_usd)]
        for one in stats.agents[:_MOST]
    ]
    lines += _table(("agent", ">events", ">failed", ">tokens", ">cost"), agents, stats.agents)
    most = max(one.events for one in stats.types)
    types = [[*_begin(one), bar(one.events, most, _BAR)] for one in stats.types[:_MOST]]
    lines += _table(("event", ">events", ">failed", ""), types, stats.types)
    errors = [[one.name or "-", f"{one.events:,}"] for one in stats.errors[:_MOST]]
    return lines + _table(("error", ">events"), errors, stats.errors)


_TITLES: Final = (">failed", ">tokens in", ">out", ">cost", ">p50", ">p95", ">longest")


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[Group]
) -> list[str]:
    if not rows:
        return []
    lines = ["", *aligned(titles, rows)]
    more = len(groups) - len(rows)
    return [*lines, f"{more:,} more; --json has them all"] if more > 0 else lines


def _begin(one: Group) -> list[str]:
    return [printable(one.name or "-"), f"{one.events:,}", f"{one.errors:,}"]


def _calls(one: Group) -> list[str]:
    latency = one.latency
    times = (
        ["-"] * 3
        if latency is None
        else [duration(value) for value in (latency.p50_ms, latency.p95_ms, latency.max_ms)]
    )
    used = (count_text(one.tokens.input_tokens), count_text(one.tokens.output_tokens))
    return [*_begin(one), *used, cost_text(one.tokens.cost_usd), *times]
