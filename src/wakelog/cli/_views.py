"""From the index to the view: which events a command shows, read from their lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wakelog.cli._ansi import drawn, is_coloured
from wakelog.cli._terminal import is_piped, width
from wakelog.events import described
from wakelog.index import Selection
from wakelog.viewer import Session, Step, View, ViewBuilder
from wakelog.viewer.tree import lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wakelog.index import Event, EventLine, Index

NEWEST_OUTSIDE: Final = 20
"""How many of the records outside runs are shown beside the newest run."""
_NARROW: Final = 80  # below it a line that is cut may lose how its step ended


def view_of(index: Index, events: Iterable[EventLine | Event], *, attributes: bool = False) -> View:
    """Read events from their lines and put them together.

    Args:
        index: The index that the events are of.
        events: Which.
        attributes: Whether steps keep the attributes of their records.
    """
    builder = ViewBuilder(attributes=attributes)
    for found in index.records(events):
        builder.add(described(found.record), found.folder)
    return builder.view()


def selected(index: Index, selection: Selection, *, attributes: bool = False) -> View:
    """Return the view of a selection: whole sessions and runs, or single events in their places."""
    if selection.picks_events:
        events = index.around(index.events(selection))
        return view_of(index, events, attributes=attributes)
    return view_of(index, index.whole(selection), attributes=attributes)


def newest(index: Index, *, attributes: bool = False) -> tuple[View, int]:
    """Return the view of the newest run and of the newest records outside runs, and how many runs there are."""
    run = index.newest_run()
    events = [] if run is None else index.whole(Selection(run=run[0]))
    events += index.outside_runs(NEWEST_OUTSIDE)
    return view_of(index, events, attributes=attributes), index.count_runs()


def everything(index: Index, *, attributes: bool = False) -> Iterator[Session | list[Step]]:
    """Yield each session by the time of its start, and at last the list of the other records."""
    sessions, _ = index.sessions()
    inside = index.sessions_inside()
    for one in sorted(sessions, key=lambda session: session.start or 0):
        if one.id is None:
            events: Iterable[EventLine] = index.of_session(None)
        elif one.id not in inside:
            events = index.whole(Selection(session=one.id))
        else:
            continue  # a sub-agent's, which is shown where it was called
        yield from view_of(index, events, attributes=attributes).sessions
    yield view_of(index, index.of_nothing(), attributes=attributes).other_records


def drawn_lines(view: View, *, full: bool = False) -> Iterator[str]:
    """Yield the lines of a view's tree as standard output takes them: coloured and cut for a terminal.

    Args:
        view: The view.
        full: Whether all that was recorded of each step stands below it; then no line is cut.
    """
    coloured = is_coloured()
    columns = None if is_piped() else width()
    cut = columns if columns is not None and columns >= _NARROW and not full else None
    return (drawn(line, coloured=coloured, width=cut) for line in lines(view, full=full))
