"""Lines of a file that several processes write: the compiled writer, and lines that are not whole."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from wakelog._native import native
from wakelog.errors import JournalError
from wakelog.journal._durability import Durability, Receipt
from wakelog.storage import Unsynced, ends_with_a_line

_LOOKS, _LOOK_SECONDS = 5, 0.002

if TYPE_CHECKING or native is None:

    class SharedFileFields:
        """The compiled writer keeps the fields of a line in a base class of its own."""

else:
    SharedFileFields = native.SharedFileFields

# What the compiled writer needs of Python.
_COMMON: Final = SimpleNamespace(
    fsync=Durability.FSYNC,
    periodic=Durability.PERIODIC,
    monotonic=time.monotonic,
    time=time.time,
    lseek=os.lseek,
    new_tuple=tuple.__new__,
    receipt=Receipt,
    unsynced=Unsynced,
)


def compiled_writer(file: SharedFileFields, encoder: Any, longest: int, most: int) -> Any:
    """Return the compiled writer of a ``SharedFile``; None without the compiled encoders.

    Its ``write`` does for an ordinary line what ``SharedFile.write`` does, and its ``write_event`` for the
    line of an ordinary event. Both return the receipt, or None, with nothing changed, for any other.

    Args:
        file: The file.
        encoder: The compiled encoder of events.
        longest: Maximum size of an event's content in bytes, if the file can have blobs.
        most: The same for a file that cannot.
    """
    if native is None:
        return None
    return native.SharedFileWriter(file, _COMMON, encoder, longest, most)


class ShortWriteError(JournalError):
    """Only the first ``written`` bytes were written."""

    def __init__(self, written: int, *rest: Any) -> None:
        super().__init__(*rest)
        self.written = written


def is_torn(fd: int) -> bool:
    """Return whether the last line of a file is incomplete, and would swallow the next one.

    A line that another process is writing looks so for a moment, which is waited for.

    Args:
        fd: The file, open for reading.

    Raises:
        OSError: When a system call fails.
    """
    for _ in range(_LOOKS):
        if ends_with_a_line(fd):
            return False
        time.sleep(_LOOK_SECONDS)
    return True
