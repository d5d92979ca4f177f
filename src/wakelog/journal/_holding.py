"""Search the folders of a journal for a text without parsing their lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wakelog.journal._folder import folders
from wakelog.journal._owner import signal_of
from wakelog.record import LOGS
from wakelog.runtime import UnlessMissing, open_to_read
from wakelog.storage import blocks


def holding(path: Path, text: bytes) -> Iterator[Path]:
    """Yield the folders of log records that contain a text, or the file itself if it does.

    Args:
        path: A journal's directory or a single file of lines. A missing path yields nothing.
        text: The text in the form that lines have it.

    Raises:
        JournalError: When a file operation fails.
    """
    if path.is_file():
        if _is_in(path, text):
            yield path
        return
    if not path.is_dir():
        return
    for folder in folders(path):
        if signal_of(folder) == LOGS and any(
            _is_in(segment, text) for segment in sorted(folder.glob("*.jsonl"))
        ):
            yield folder


def _is_in(path: Path, text: bytes) -> bool:
    kept = b""
    with UnlessMissing("read", path, or_foreign=True), open_to_read(path) as file:
        for _, block in blocks(file.fileno()):
            if (kept + block).find(text) >= 0:
                return True
            kept = block[-len(text) :]
    return False
