"""The index: the position of every event of a journal, its ids and names, and sums over events.

Readers create it, and writers do not need it. It holds positions and metadata but no content, is
derived from the journal, and is rebuilt if it is missing, damaged or of another version.
"""

from wakelog.index._event import Event, EventLine, ReadEvent
from wakelog.index._index import Index
from wakelog.index._lines import ReadLine
from wakelog.index._match import Match
from wakelog.index._moments import moment
from wakelog.index._refresh import Progress, without_collections
from wakelog.index._selection import Selection
from wakelog.index._sources import held_at, sources_of
from wakelog.index._stats import Group, Latency, Stats
from wakelog.index._summaries import SORTS, Summary, Tokens

__all__ = [
    "SORTS",
    "Event",
    "EventLine",
    "Group",
    "Index",
    "Latency",
    "Match",
    "Progress",
    "ReadEvent",
    "ReadLine",
    "Selection",
    "Stats",
    "Summary",
    "Tokens",
    "held_at",
    "moment",
    "sources_of",
    "without_collections",
]
