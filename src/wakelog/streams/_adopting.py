"""Closing the streams that a crash has left open, each once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.journal import Folder, Mark, folders
from wakelog.journal import load_ledger as load
from wakelog.journal import save_ledger as save
from wakelog.streams._lines import (
    ENDS,
    MAX_LINE_BYTES,
    STARTS,
    chunk_of,
    end_of,
    last_line,
    needle,
    scan,
)
from wakelog.streams._places import BEGINNING, EVERYTHING, is_writer, key_of, split_key
from wakelog.streams._whose import may_close

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams


def adopt(streams: SessionStreams) -> list[str]:
    """Write the missing ends of streams in the folders of dead writers.

    If ends are exported, too, folders of other services are left out, because these services export
    them.

    Returns:
        The ids of the streams that were closed.

    Raises:
        JournalError: If the directory cannot be read or written.
    """
    closed: list[str] = []
    paths = [path for path in folders(streams.directory) if is_writer(path.name)]
    for number, path in enumerate(paths):
        if path.name in streams.lanes.acknowledged:
            continue
        if streams.log is not None and not may_close(path, streams.resource):
            continue
        if (folder := Folder.adopt(path)) is None:
            continue
        try:
            if not _is_acknowledged(path):
                closed += _close_streams(streams, path, paths[number + 1 :])
                acknowledge(path)
            streams.lanes.acknowledged.add(path.name)
        finally:
            folder.release()
    return closed


def acknowledge(path: Path, segment: int | None = None, seq: int = 0) -> None:
    """Save in a folder's ledger that its records need no delivery. The caller owns the folder.

    Retention keeps what the ledger does not cover, as if it were still to be delivered.

    Args:
        path: The folder.
        segment: Only for what is before this segment, because later streams may be open; None for
            all.
        seq: The ``seq`` of the last record before that segment.

    Raises:
        JournalError: If writing fails.
    """
    if segment is not None:
        save(path, path.name, Mark(segment, 0, seq))
    elif (line := last_line(path)) is not None:
        segment, offset = split_key(end_of(path))
        save(path, path.name, Mark(segment, offset, line.record.seq))


def _is_acknowledged(path: Path) -> bool:
    mark = load(path, path.name)
    return key_of(mark.segment, mark.offset) >= end_of(path)


def _close_streams(streams: SessionStreams, path: Path, later: list[Path]) -> list[str]:
    opened: dict[str, tuple[str, int]] = {}
    for found in scan(path, BEGINNING, EVERYTHING, STARTS, ENDS):
        if isinstance(found, int) or (chunk := chunk_of(found, path.name)) is None:
            continue
        if chunk.kind == "start" and chunk.stream_id is not None:
            opened[chunk.stream_id] = (chunk.session_id, found.begin)
        elif chunk.stream_id is not None:
            opened.pop(chunk.stream_id, None)
    # A previous call may have died after writing an end and before saving the ledger.
    for other in later if opened else []:
        for found in scan(other, BEGINNING, EVERYTHING, ENDS):
            if not isinstance(found, int) and (chunk := chunk_of(found, other.name)) is not None:
                opened.pop(chunk.stream_id or "", None)
    for stream_id, (session_id, begin) in opened.items():
        streams.interrupt(session_id, _so_far(path, session_id, stream_id, begin))
    return list(opened)


def _so_far(path: Path, session_id: str, stream_id: str, begin: int) -> dict[str, object]:
    """Return the text of a stream so far, as the payload of an event."""
    said: list[str] = []
    reasoned: list[str] = []
    chunks = chars = 0
    into = said
    for found in scan(path, begin, EVERYTHING, needle(session_id)):
        if isinstance(found, int) or (chunk := chunk_of(found, path.name)) is None:
            continue
        if chunk.stream_id != stream_id:
            continue
        if chunk.kind == "chunk":
            chunks += 1
            chars += len(chunk.text)
            if chars < MAX_LINE_BYTES:
                into.append(chunk.text)
        elif chunk.kind.startswith("reasoning"):
            into = reasoned if chunk.kind == "reasoning_start" else said
    payload: dict[str, object] = {"stream_id": stream_id, "chunks": chunks}
    if said:
        payload["message"] = "".join(said)
    if reasoned:
        payload["reasoning"] = "".join(reasoned)
    return payload
