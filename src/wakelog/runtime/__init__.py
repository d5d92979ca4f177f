"""Functions for the process and the operating system, without any knowledge of journals.

The file-system layer, by which every file is opened, renamed and deleted; background threads; and
the registry of state that a forked child resets.
"""

from wakelog.runtime._background import Alarm, Background
from wakelog.runtime._burst import Burst
from wakelog.runtime._exceptions import (
    JournalErrors,
    UnlessMissing,
    contained,
    is_cancellation,
    is_refusal,
    let_through,
)
from wakelog.runtime._filesystem import SYSTEM, UNFINISHED, FileSystem
from wakelog.runtime._fork import ForkOrder, notice_fork, noticed, reset_in_child
from wakelog.runtime._futures import complete, complete_soon, in_asyncio, running_loop
from wakelog.runtime._locks import FileLock, is_locked
from wakelog.runtime._opening import (
    TRUST_VARIABLE,
    ForeignFileError,
    check_for_sqlite,
    is_directory,
    list_directory,
    list_regular,
    make_directories,
    open_device,
    open_directory,
    open_file,
    open_to_read,
    others_are_trusted,
    read_small,
    regular_file,
    size_of,
    touch,
)
from wakelog.runtime._paths import absolute, resolved
from wakelog.runtime._per_thread import PerThread
from wakelog.runtime._posix import fcntl
from wakelog.runtime._trust import check_directory, is_anothers, open_root

__all__ = [
    "SYSTEM",
    "TRUST_VARIABLE",
    "UNFINISHED",
    "Alarm",
    "Background",
    "Burst",
    "FileLock",
    "FileSystem",
    "ForeignFileError",
    "ForkOrder",
    "JournalErrors",
    "PerThread",
    "UnlessMissing",
    "absolute",
    "check_directory",
    "check_for_sqlite",
    "complete",
    "complete_soon",
    "contained",
    "fcntl",
    "in_asyncio",
    "is_anothers",
    "is_cancellation",
    "is_directory",
    "is_locked",
    "is_refusal",
    "let_through",
    "list_directory",
    "list_regular",
    "make_directories",
    "notice_fork",
    "noticed",
    "open_device",
    "open_directory",
    "open_file",
    "open_root",
    "open_to_read",
    "others_are_trusted",
    "read_small",
    "regular_file",
    "reset_in_child",
    "resolved",
    "running_loop",
    "size_of",
    "touch",
]
