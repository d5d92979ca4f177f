"""The filters that commands share, which select events."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from wakelog.index import Match, Selection
from wakelog.index import moment as time_said
from wakelog.record import Record


def add_filters(parser: argparse.ArgumentParser, *, text: bool = True) -> None:
    """Declare the arguments that select events.

    Args:
        parser: The command's parser.
        text: Whether the command can search for a text.
    """
    group = parser.add_argument_group("which events")
    add = group.add_argument
    add("--session", metavar="ID", help="of sessions whose id begins with ID")
    add("--run", metavar="ID", help="of runs whose id begins with ID")
    add(
        "--since",
        type=moment,
        metavar="TIME",
        help="at or after this time: a time, a date, today, yesterday, or an age such as 2h",
    )
    add("--until", type=moment, metavar="TIME", help="before this time")
    add("--errors", action="store_true", help="that failed")
    add("--agent", metavar="NAME", help="of this agent")
    add("--type", metavar="TYPE", help="of this event type; the type of a call includes its result")
    add("--tool", metavar="NAME", help="of this tool")
    if text:
        add(
            "--text",
            metavar="TEXT",
            help="that contain this text; ASCII letters match in either case",
        )


def selection_of(arguments: argparse.Namespace) -> Selection:
    """Return the selection that a command line describes."""
    return Selection(
        session=arguments.session or None,
        run=arguments.run or None,
        since=arguments.since,
        until=arguments.until,
        errors=arguments.errors,
        agent=arguments.agent or None,
        type=arguments.type or None,
        tool=arguments.tool or None,
        text=getattr(arguments, "text", None) or None,
    )


def moment(text: str) -> int:
    """Parse a time that a user gives, as ``wakelog.index.moment`` does, in nanoseconds since 1970.

    Raises:
        argparse.ArgumentTypeError: If the text is not a time.
    """
    try:
        return time_said(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def asked(selection: Selection) -> str:
    """Describe a selection in words, for the message that nothing matches it."""
    words = [
        f"{name} {value!r}"
        for name in ("session", "run", "agent", "type", "tool", "text")
        if (value := getattr(selection, name)) is not None
    ]
    words += ["a time in that range"] if selection.since or selection.until else []
    words += ["a failure"] if selection.errors else []
    return " and ".join(words)


def test_of(selection: Selection) -> Callable[[Record, str | None], bool] | None:
    """Return a function that tells whether a record matches, for commands that follow a journal.

    Args:
        selection: The records to select.

    Returns:
        A function of a record and its writer's id; None if all records are selected.
    """
    if selection == Selection():
        return None
    return Match(selection)
