"""Show sessions, their runs and what happened in them, as a tree.

A step that began and never ended is shown as "outcome unknown": its process died in it.

With --json:
  {"sessions": [{"id", "start", "duration_ms", "runs": [STEP], "steps": [STEP]}],
   "other_records": [STEP]}
STEP is {"id", "type", "name", "agent", "start", "duration_ms", "status", "summary", "trace_id",
"span_id", "steps": [STEP]}, and with --attributes also "attributes". A run is a STEP whose type is
"run" and whose id is the run's. What is not known is null. start is RFC 3339 in UTC; the status
"unknown" means that it began and that nobody knows how it ended, "running" that its process lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog.cli._paths import add_path, path_of, print_json
from wakelog.errors import WakelogError
from wakelog.viewer import load

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from wakelog.viewer import View


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument("--run", metavar="ID", help="only runs whose ids begin so")
    parser.add_argument("--session", metavar="ID", help="only sessions whose ids begin so")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tree")
    parser.add_argument(
        "--attributes", action="store_true", help="with --json: every step's attributes too"
    )


def run(arguments: argparse.Namespace) -> int:
    """Show a journal.

    Raises:
        WakelogError: When there is nothing to read, or nothing that the filters let through.
    """
    path = path_of(arguments)
    view = load(path, run=arguments.run, session=arguments.session, attributes=arguments.attributes)
    if (arguments.run or arguments.session) and not (view.sessions or view.other_records):
        raise WakelogError(_nothing_matches(arguments, view, path))
    if arguments.json:
        print_json(view.to_dict())
        return 0
    from wakelog.cli._terminal import console
    from wakelog.viewer.tree import render

    if view.sessions or view.other_records:
        console().print(render(view))
    else:
        console().print(f"Nothing is recorded in {path} yet.")
    return 0


def _nothing_matches(arguments: argparse.Namespace, view: View, path: Path) -> str:
    asked = [
        f"{kind} {wanted!r}"
        for kind, wanted in (("session", arguments.session), ("run", arguments.run))
        if wanted
    ]
    message = f"there is no {' with '.join(asked)} in {path}"
    kind, known = ("runs", view.some_runs) if arguments.run else ("sessions", view.some_sessions)
    return f"{message}; the last {kind} there are {', '.join(known)}" if known else message
