"""A file for writers whose records wait because the next hop has no endpoint for their signal."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from wakelog.record import seal_fields
from wakelog.runtime import SYSTEM, FileSystem, read_small, regular_file

UNSERVED: Final = "unserved"
"""The name of the file in a writer's folder."""
_LONGEST = 500


def note_unserved(folder: Path, answer: str, fs: FileSystem = SYSTEM) -> None:
    """Write the next hop's answer to a file for ``wakelog status``. It is a hint.

    Args:
        folder: The writer's folder.
        answer: The answer in words; empty once the next hop accepts records.
        fs: The file-system calls.
    """
    path = folder / UNSERVED
    with suppress(OSError):  # the disk is full, or the folder has been deleted
        if answer:
            fs.write_whole(path, seal_fields({"answer": answer[:_LONGEST]})[0])
        elif regular_file(path) is not None:
            fs.unlink(path)


def unserved_answer(folder: Path) -> str:
    """Return the answer that ``note_unserved`` wrote for a writer, or an empty text."""
    try:
        said = orjson.loads(read_small(os.fspath(folder / UNSERVED)))["answer"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return said if isinstance(said, str) else ""
