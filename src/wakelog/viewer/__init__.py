"""The viewer: what a journal's records say, as sessions, runs and steps.

A session is a conversation, a run one stretch of an agent's work, and a step what it did there.
``load`` builds the view from files, ``ViewBuilder`` from any records, ``to_dict`` makes plain data
of it, and ``wakelog.viewer.tree`` draws it in a terminal.
"""

from wakelog.viewer._build import ViewBuilder, load, read
from wakelog.viewer._model import RUN, RUNNING, UNKNOWN, Session, Step, View, every_step
from wakelog.viewer._summary import name_of, one_line, summary_of

__all__ = [
    "RUN",
    "RUNNING",
    "UNKNOWN",
    "Session",
    "Step",
    "View",
    "ViewBuilder",
    "every_step",
    "load",
    "name_of",
    "one_line",
    "read",
    "summary_of",
]
