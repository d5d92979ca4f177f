"""The journal: segments, commit, recovery and bookkeeping. Bytes and positions, nothing above.

A journal is a directory with one folder per *writer* (one process lifetime). A writer appends
lines to numbered segments; its folder is owned by a kernel lock for as long as the process lives.
What has been delivered is noted in a *ledger* beside the segments, which is a hint: without it,
everything is delivered again.
"""

from wakelog.journal._books import Books, books, end_of
from wakelog.journal._claim import Claim
from wakelog.journal._cursor import Chunk, Cursor, Entry, set_aside_torn_tail
from wakelog.journal._dead_letters import DeadLetter, dead_letters, note_replayed, set_aside
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._folder import Folder, folders, is_owned
from wakelog.journal._journal import DEFAULT_SEGMENT_BYTES, Journal, default_root
from wakelog.journal._mark import Mark, Span
from wakelog.journal._observer import Observer
from wakelog.journal._quota import quota_of
from wakelog.journal._reading import read
from wakelog.journal._rotation import Rotation
from wakelog.journal._space import QuotaPolicy, Space
from wakelog.journal._survey import usage
from wakelog.journal._verify import Misfit, first_misfit
from wakelog.journal._writer import Writer

__all__ = [
    "DEFAULT_SEGMENT_BYTES",
    "Books",
    "Chunk",
    "Claim",
    "Cursor",
    "DeadLetter",
    "Durability",
    "Entry",
    "Folder",
    "Journal",
    "Mark",
    "Misfit",
    "Observer",
    "QuotaPolicy",
    "Receipt",
    "Rotation",
    "Space",
    "Span",
    "Writer",
    "books",
    "dead_letters",
    "default_root",
    "end_of",
    "first_misfit",
    "folders",
    "is_owned",
    "note_replayed",
    "quota_of",
    "read",
    "set_aside",
    "set_aside_torn_tail",
    "usage",
]
