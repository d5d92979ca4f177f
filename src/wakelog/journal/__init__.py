"""The journal: segments, commit, recovery and bookkeeping, in bytes and positions.

A journal is a directory with one folder per *writer* (one process lifetime). A writer appends
lines to numbered segments and holds a kernel lock on its folder until the process ends.
A *ledger* beside the segments stores what has been delivered. It is a hint: without it,
everything is delivered again.
"""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.journal._awaiting import (
    AwaitingSigner,
    wanted_deletion,
)
from wakelog.journal._counts import FIGURES, RecordCounts
from wakelog.journal._cursor import Cursor, save_torn_tail
from wakelog.journal._deletions import Deletion
from wakelog.journal._deletions import load as load_deletions
from wakelog.journal._delivery_lock import DeliveryLock, is_kept_here
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._ends import end_of
from wakelog.journal._entry import Entry, EntryBatch, LaterEntry
from wakelog.journal._folder import (
    Folder,
    are_inherited,
    folders,
    inherit,
    is_owned,
    may_end_spans,
)
from wakelog.journal._generation import next_generation
from wakelog.journal._inventory import usage
from wakelog.journal._journal import DEFAULT_SEGMENT_BYTES, Journal
from wakelog.journal._ledger import load as load_ledger
from wakelog.journal._ledger import load_with_ranges as load_ledger_with_ranges
from wakelog.journal._ledger import save as save_ledger
from wakelog.journal._mark import Mark, MarkRange
from wakelog.journal._owner import UNNAMED_SERVICE, Owner, Service, owner_of, signal_of
from wakelog.journal._quota import quota_of
from wakelog.journal._retired_totals import load as load_retired_totals
from wakelog.journal._root import default_root, make_parent_of
from wakelog.journal._rotation import Rotation
from wakelog.journal._space import QuotaPolicy, Space
from wakelog.journal._writer import Writer, line_writer

if TYPE_CHECKING:
    from wakelog.journal._books import Books, books
    from wakelog.journal._dead_letters import (
        DeadLetter,
        add_dead_letter,
        dead_letter_line,
        dead_letters,
        note_replayed,
        write_dead_letter,
    )
    from wakelog.journal._file_rotation import FileRotation
    from wakelog.journal._holding import holding
    from wakelog.journal._listener import SegmentListener
    from wakelog.journal._observer import Observer
    from wakelog.journal._open_spans import (
        Start,
        are_ended,
        ends_among,
        ends_with,
        last_sign_of_life,
        note_ended,
        open_spans,
        show_sign_of_life,
    )
    from wakelog.journal._prune import Prunable, prunable, prune
    from wakelog.journal._reading import read
    from wakelog.journal._repair import faults, repair
    from wakelog.journal._shared_file import SharedFile
    from wakelog.journal._shared_lines import compiled_writer
    from wakelog.journal._unserved import note_unserved, unserved_answer
    from wakelog.journal._verify import Misfit, first_misfit

__all__ = [
    "DEFAULT_SEGMENT_BYTES",
    "FIGURES",
    "UNNAMED_SERVICE",
    "AwaitingSigner",
    "Books",
    "Cursor",
    "DeadLetter",
    "Deletion",
    "DeliveryLock",
    "Durability",
    "Entry",
    "EntryBatch",
    "FileRotation",
    "Folder",
    "Journal",
    "LaterEntry",
    "Mark",
    "MarkRange",
    "Misfit",
    "Observer",
    "Owner",
    "Prunable",
    "QuotaPolicy",
    "Receipt",
    "RecordCounts",
    "Rotation",
    "SegmentListener",
    "Service",
    "SharedFile",
    "Space",
    "Start",
    "Writer",
    "add_dead_letter",
    "are_ended",
    "are_inherited",
    "books",
    "compiled_writer",
    "dead_letter_line",
    "dead_letters",
    "default_root",
    "end_of",
    "ends_among",
    "ends_with",
    "faults",
    "first_misfit",
    "folders",
    "holding",
    "inherit",
    "is_kept_here",
    "is_owned",
    "last_sign_of_life",
    "line_writer",
    "load_deletions",
    "load_ledger",
    "load_ledger_with_ranges",
    "load_retired_totals",
    "make_parent_of",
    "may_end_spans",
    "next_generation",
    "note_ended",
    "note_replayed",
    "note_unserved",
    "open_spans",
    "owner_of",
    "prunable",
    "prune",
    "quota_of",
    "read",
    "repair",
    "save_ledger",
    "save_torn_tail",
    "show_sign_of_life",
    "signal_of",
    "unserved_answer",
    "usage",
    "wanted_deletion",
    "write_dead_letter",
]

# Neither recording nor delivery of log records needs these.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.journal._books": ["Books", "books"],
        "wakelog.journal._dead_letters": [
            "DeadLetter",
            "add_dead_letter",
            "dead_letter_line",
            "dead_letters",
            "note_replayed",
            "write_dead_letter",
        ],
        "wakelog.journal._file_rotation": ["FileRotation"],
        "wakelog.journal._holding": ["holding"],
        "wakelog.journal._listener": ["SegmentListener"],
        "wakelog.journal._observer": ["Observer"],
        "wakelog.journal._open_spans": [
            "Start",
            "are_ended",
            "ends_among",
            "ends_with",
            "last_sign_of_life",
            "note_ended",
            "open_spans",
            "show_sign_of_life",
        ],
        "wakelog.journal._prune": ["Prunable", "prunable", "prune"],
        "wakelog.journal._reading": ["read"],
        "wakelog.journal._repair": ["faults", "repair"],
        "wakelog.journal._shared_file": ["SharedFile"],
        "wakelog.journal._shared_lines": ["compiled_writer"],
        "wakelog.journal._unserved": ["note_unserved", "unserved_answer"],
        "wakelog.journal._verify": ["Misfit", "first_misfit"],
    },
)
