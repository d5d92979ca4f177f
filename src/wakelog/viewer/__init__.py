"""The viewer: a journal's records as sessions, runs and steps.

A session is a conversation, a run is one execution of an agent, and a step is something that the
agent did in it. ``load`` builds the view from files, ``ViewBuilder`` from any records, ``to_dict``
returns plain data, and ``wakelog.viewer.tree`` draws the view in a terminal.
"""

from wakelog.viewer._blocks import blocks_of
from wakelog.viewer._build import ViewBuilder, load
from wakelog.viewer._content import content_of
from wakelog.viewer._model import RUN, RUNNING, UNKNOWN, Session, Step, View, every_step
from wakelog.viewer._summary import (
    exception_line,
    exception_of,
    level_of,
    message_of,
    name_of,
    one_line,
    summary_of,
)
from wakelog.viewer._totals import Total, Totals, totals

__all__ = [
    "RUN",
    "RUNNING",
    "UNKNOWN",
    "Session",
    "Step",
    "Total",
    "Totals",
    "View",
    "ViewBuilder",
    "blocks_of",
    "content_of",
    "every_step",
    "exception_line",
    "exception_of",
    "level_of",
    "load",
    "message_of",
    "name_of",
    "one_line",
    "summary_of",
    "totals",
]
