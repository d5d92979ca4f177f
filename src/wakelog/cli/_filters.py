"""The filters that commands share: which events are meant."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from wakelog.index import Selection
from wakelog.index import moment as time_said

if TYPE_CHECKING:
    from wakelog.record import Record


def add_filters(parser: argparse.ArgumentParser, *, text: bool = True) -> None:
    """Declare the arguments that say which events are meant.

    Args:
        parser: The command's parser.
        text: Whether the command can look for a text.
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
    """Return which events a command line means."""
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
    """Read a time that a user gives, in nanoseconds since 1970, as ``wakelog.index.moment`` does.

    Raises:
        argparse.ArgumentTypeError: For a text that says no time.
    """
    try:
        return time_said(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def asked(selection: Selection) -> str:
    """Say in words which events were meant, for a message that there are none."""
    words = [
        f"{name} {value!r}"
        for name in ("session", "run", "agent", "type", "tool", "text")
        if (value := getattr(selection, name)) is not None
    ]
    words += ["a time in that range"] if selection.since or selection.until else []
    words += ["a failure"] if selection.errors else []
    return " and ".join(words)


def test_of(selection: Selection) -> Callable[[Record, str | None], bool] | None:
    """Return what tells of a record whether it is meant, for commands that follow a journal.

    Args:
        selection: Which records are meant.

    Returns:
        A function of a record and the id of its writer; None when all records are meant.
    """
    if selection == Selection():
        return None
    from wakelog.index import Match

    return Match(selection)
