"""Building a view of the events that the index selects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from wakelog.cli._ansi import drawn, is_coloured
from wakelog.cli._terminal import is_piped, width
from wakelog.events import described
from wakelog.index import Event, EventLine, Index, Selection
from wakelog.viewer import Session, Step, View, ViewBuilder
from wakelog.viewer.tree import lines

NEWEST_OUTSIDE: Final = 20
"""How many of the records outside runs are shown after the newest run."""
_NARROW: Final = 80  # on a narrower terminal, cutting a line could hide the step's outcome


def view_of(index: Index, events: Iterable[EventLine | Event], *, attributes: bool = False) -> View:
    """Return a view of events, read from their lines.

    Args:
        index: The index of the events.
        events: The events.
        attributes: Whether steps keep the attributes of their records.
    """
    builder = ViewBuilder(attributes=attributes)
    for found in index.records(events):
        builder.add(described(found.record), found.folder)
    return builder.view()


def selected(index: Index, selection: Selection, *, attributes: bool = False) -> View:
    """Return the view of a selection: whole sessions and runs, or single events in runs."""
    if selection.picks_events:
        events = index.around(index.events(selection))
        return view_of(index, events, attributes=attributes)
    return view_of(index, index.whole(selection), attributes=attributes)


def newest(index: Index, *, attributes: bool = False) -> tuple[View, int]:
    """Return a view of the newest run and records outside runs, and the number of runs."""
    run = index.newest_run()
    events = [] if run is None else index.whole(Selection(run=run[0]))
    events += index.outside_runs(NEWEST_OUTSIDE)
    return view_of(index, events, attributes=attributes), index.count_runs()


def everything(index: Index, *, attributes: bool = False) -> Iterator[Session | list[Step]]:
    """Yield each session, ordered by start, and finally the list of the other records."""
    sessions, _ = index.sessions()
    inside = index.sessions_inside()
    for one in sorted(sessions, key=lambda session: session.start or 0):
        if one.id is None:
            events: Iterable[EventLine] = index.of_session(None)
        elif one.id not in inside:
            events = index.whole(Selection(session=one.id))
        else:
            continue  # a sub-agent's session, which is shown inside the calling one
        yield from view_of(index, events, attributes=attributes).sessions
    yield view_of(index, index.of_nothing(), attributes=attributes).other_records


def drawn_lines(view: View, *, full: bool = False) -> Iterator[str]:
    """Yield the lines of a view's tree for standard output: coloured and cut if it is a terminal.

    Args:
        view: The view.
        full: Whether to print everything recorded of each step below it; then no line is cut.
    """
    coloured = is_coloured()
    columns = None if is_piped() else width()
    cut = columns if columns is not None and columns >= _NARROW and not full else None
    return (drawn(line, coloured=coloured, width=cut) for line in lines(view, full=full))
