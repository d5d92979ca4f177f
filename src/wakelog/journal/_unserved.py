"""A writer whose records wait because the next hop has no endpoint for their signal, as it has answered."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from wakelog.record import seal_fields
from wakelog.runtime import SYSTEM, FileSystem, read_small, regular_file

UNSERVED: Final = "unserved"
"""The file in a writer's folder."""
_LONGEST = 500


def note_unserved(folder: Path, answer: str, fs: FileSystem = SYSTEM) -> None:
    """Note what the next hop has answered, for whoever looks from outside. It is a hint.

    Args:
        folder: The writer's folder.
        answer: The answer, in words; empty once the next hop takes records.
        fs: The system calls.
    """
    path = folder / UNSERVED
    with suppress(OSError):  # a full disk, and a folder that has been swept
        if answer:
            fs.write_whole(path, seal_fields({"answer": answer[:_LONGEST]})[0])
        elif regular_file(path) is not None:
            fs.unlink(path)


def unserved_answer(folder: Path) -> str:
    """Return what ``note_unserved`` has noted of a writer; empty for nothing."""
    try:
        said = orjson.loads(read_small(os.fspath(folder / UNSERVED)))["answer"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return said if isinstance(said, str) else ""
