"""The names of segments: eight digits at least, counting from 1."""

from __future__ import annotations

import os
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.runtime import list_regular

SEALS = "seals.jsonl"
"""The file in a writer's folder that has the seals of its segments."""
LIVE, COMPRESSED = ".jsonl", ".jsonl.gz"
INDEX = ".index"
"""The folder in a journal's directory for the readers' index, which the quota does not count."""


def segment_name(index: int, suffix: str = LIVE) -> str:
    """Return the file name of a segment."""
    return f"{index:08d}{suffix}"


def segment_index(name: str, suffix: str = LIVE) -> int | None:
    """Return the index in a segment's file name, or None for any other file.

    A name has one form only: ``1.jsonl`` and ``000000001.jsonl`` are not segments.
    """
    digits = name.removesuffix(suffix)
    if not (digits.isascii() and digits.isdecimal()):
        return None
    index = int(digits)
    return index if index > 0 and segment_name(index, suffix) == name else None


def segments(
    folder: str | os.PathLike[str], suffix: str = LIVE, *, missing_ok: bool = False
) -> list[int]:
    """List the indices of a folder's segments, in order, without links.

    Args:
        folder: The folder.
        suffix: The suffix of the files' names.
        missing_ok: Whether to return no segments, instead of an error, for a missing folder.

    Returns:
        The indices, ascending.

    Raises:
        JournalError: When the folder cannot be listed.
    """
    try:
        names = list_regular(folder)
    except OSError as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return []
        raise JournalError("list", Path(folder), error) from error
    return sorted(index for name in names if (index := segment_index(name, suffix)) is not None)
