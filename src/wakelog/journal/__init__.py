"""The journal: segments, commit, recovery and bookkeeping. Bytes and positions, nothing above.

A journal is a directory with one folder per *writer* (one process lifetime). A writer appends
lines to numbered segments; its folder is owned by a kernel lock for as long as the process lives.
What has been delivered is noted in a *ledger* beside the segments, which is a hint: without it,
everything is delivered again.
"""

from wakelog.journal._books import Books, books, end_of
from wakelog.journal._claim import Claim
from wakelog.journal._dead_letters import DeadLetter, dead_letters, note_replayed, set_aside
from wakelog.journal._folder import Folder, folders, is_owned
from wakelog.journal._journal import Journal, default_root
from wakelog.journal._ledger import Mark, Span
from wakelog.journal._reading import Chunk, Cursor, Entry, read, set_aside_torn_tail
from wakelog.journal._verify import Misfit, first_misfit
from wakelog.journal._writer import Durability, Receipt, Writer

__all__ = [
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
    "Receipt",
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
    "read",
    "set_aside",
    "set_aside_torn_tail",
]
