"""Show sessions, their runs and their steps as a tree.

A terminal shows the newest run, with the newest records outside runs, unless a filter or --all asks for
more; a pipe and --json get everything. Filters by session and run show these whole; the others select
events, and show each with its result, inside its run. A step without an end is shown as "outcome unknown"
if its process died during the step.

With --json:
  {"sessions": [{"id", "start", "duration_ms", "runs": [STEP], "steps": [STEP]}],
   "other_records": [STEP], "spans": [SPAN]}
STEP is {"id", "type", "name", "agent", "start", "duration_ms", "status", "summary", "level",
"message", "exception": {"type", "message"}, "trace_id", "span_id", "usage", "cost_usd",
"steps": [STEP]}, and with --attributes also "attributes" and "body". A run is a STEP whose type is
"run" and whose id is the run's. Unknown values are null. start is RFC 3339 in UTC. usage has the tokens that the records
state, such as "input_tokens" and "output_tokens". The status "unknown" means that the step began
and its end is unknown; "running" means that its process lives. SPAN is {"name", "trace_id",
"span_id", "scope", "started", "ended", "state", "reason"}, a span of another instrumentation that
is open or of unknown outcome; with filters there are none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from wakelog._printable import printable
from wakelog.cli._filters import add_filters, asked, selection_of
from wakelog.cli._indexed import opened
from wakelog.cli._pager import page
from wakelog.cli._paths import add_path, print_json, print_json_items, source_of
from wakelog.cli._place import is_empty_file
from wakelog.cli._unknown_spans import UnknownSpan, said_of_unknown, unknown_spans
from wakelog.cli._views import drawn_lines, everything, newest, selected
from wakelog.errors import WakelogError
from wakelog.index import Index, Selection, without_collections
from wakelog.viewer import Session, View


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument("--all", action="store_true", help="show everything, also in a terminal")
    parser.add_argument("--last", action="store_true", help="show only the newest run")
    add_filters(parser)
    parser.add_argument(
        "--full", action="store_true", help="show everything that was recorded of each step, uncut"
    )
    parser.add_argument("--no-pager", action="store_true", help="print without a pager")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of the tree")
    form.add_argument(
        "--html", action="store_true", help="print the page of `wakelog view` as one file"
    )
    parser.add_argument(
        "--attributes", action="store_true", help="with --json: add the attributes of every step"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show a journal.

    Raises:
        WakelogError: If there is nothing to read, or nothing matches the filters.
    """
    path = source_of(arguments)
    selection = selection_of(arguments)
    attributes = arguments.attributes or arguments.full
    with opened(path) as index, without_collections():
        spans = unknown_spans(path) if selection == Selection() and not arguments.last else []
        if index.is_empty:
            _say_nothing(arguments, selection, path, spans)
            return 0
        if arguments.last and selection.run is None and (last := index.newest_run()) is not None:
            selection = replace(selection, run=last[0])
        if arguments.html:
            _print_page(index, selection, path)
            return 0
        if selection != Selection():
            view = selected(index, selection, attributes=attributes)
            if not (view.sessions or view.other_records):
                raise WakelogError(_nothing_matches(index, selection, path))
            _show(arguments, view, spans)
        elif arguments.json or arguments.all or not sys.stdout.isatty():
            _show_everything(arguments, index, spans, attributes=attributes)
        else:
            view, runs = newest(index, attributes=attributes)
            hint = f"{runs:,} runs are recorded: wakelog sessions --runs lists them, and --all shows all."
            _show(arguments, view, spans, *([hint] if runs > 1 else []))
    return 0


def _print_page(index: Index, selection: Selection, path: Path) -> None:
    """Print the page as one file, with everything or what matches the filters.

    Raises:
        WakelogError: If nothing matches, or standard output is a terminal.
    """
    from wakelog.page import offline_page

    if sys.stdout.isatty():
        raise WakelogError(
            "an HTML page cannot be shown in a terminal: redirect it, as in --html > page.html"
        )
    if selection == Selection():
        found = index.events()
    elif selection.picks_events:
        found = iter(index.around(index.events(selection)))
    else:
        found = index.at(line.position for line in index.whole(selection))
    events = sorted(found, key=lambda event: (event.time or 0, event.position))
    if not events:
        raise WakelogError(_nothing_matches(index, selection, path))
    sys.stdout.flush()
    for part in offline_page(index, events, printable(str(path))):
        # Write bytes: in another encoding the scripts would not match the hashes in the page's
        # policy.
        sys.stdout.buffer.write(part.encode())


def _show(arguments: argparse.Namespace, view: View, spans: list[UnknownSpan], *notes: str) -> None:
    if arguments.json:
        print_json({**view.to_dict(), "spans": [span.to_dict() for span in spans]})
        return
    lines = [*drawn_lines(view, full=arguments.full), *said_of_unknown(spans), *notes]
    page(lines, paged=not arguments.no_pager)


def _show_everything(
    arguments: argparse.Namespace, index: Index, spans: list[UnknownSpan], *, attributes: bool
) -> None:
    """Show everything, one session after another, so that only one is in memory at a time."""
    shown = everything(index, attributes=attributes)
    if not arguments.json:
        views = (View([one], []) if isinstance(one, Session) else View([], one) for one in shown)
        lines = (line for view in views for line in drawn_lines(view, full=arguments.full))
        page(chain(lines, said_of_unknown(spans)), paged=not arguments.no_pager)
        return
    others = []

    def sessions() -> Iterator[object]:
        for one in shown:
            if isinstance(one, Session):
                yield one.to_dict()
            else:
                others.extend(one)

    print_json_items(
        "sessions",
        sessions(),
        "other_records",
        (step.to_dict() for step in others),
        "spans",
        (span.to_dict() for span in spans),
    )


def _say_nothing(
    arguments: argparse.Namespace, selection: Selection, path: Path, spans: list[UnknownSpan]
) -> None:
    """Print that nothing is recorded.

    Raises:
        WakelogError: If a filter was given.
    """
    if selection != Selection():
        raise WakelogError(f"there is no {asked(selection)} in {path}")
    if arguments.json:
        _show(arguments, View(), spans)
        return
    named = printable(str(path))
    if is_empty_file(path):
        sys.stdout.write(f"{named} is an empty file: nothing is recorded yet.\n")
    else:
        what = "No event" if spans else "Nothing"
        lines = [f"{what} is recorded in {named} yet.", *said_of_unknown(spans)]
        sys.stdout.write("\n".join(lines) + "\n")


def _nothing_matches(index: Index, selection: Selection, path: Path) -> str:
    message = f"there is no {asked(selection)} in {path}"
    if selection.picks_events:
        return message
    kind, listed = ("runs", index.runs) if selection.run else ("sessions", index.sessions)
    known = [one.id for one in listed(limit=5)[0] if one.id is not None]
    return f"{message}; the last {kind} there are {', '.join(known)}" if known else message
