"""Closing what a crash has left open: once for each stream, whoever comes first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.errors import JournalError
from wakelog.journal import Folder, folders
from wakelog.streams._lines import ENDS, MAX_LINE_BYTES, STARTS, chunk_of, needle, scan
from wakelog.streams._places import BEGINNING, EVERYTHING, is_writer

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams

# Notes for each writer that it has been dealt with. The name begins with a dot, so that nobody
# takes it for a writer.
_NOTES = ".streams"


def adopt(streams: SessionStreams) -> list[str]:
    """Write the ends that are missing in the folders of writers that are gone.

    Returns:
        The ids of the streams that were closed.

    Raises:
        JournalError: When the directory cannot be read or written.
    """
    notes = streams.directory / _NOTES
    closed: list[str] = []
    paths = [path for path in folders(streams.directory) if is_writer(path.name)]
    done = _noted(notes)
    for path in paths:
        if path.name in done:
            continue
        folder = Folder.adopt(path)
        if folder is None:
            continue
        try:
            # Another process may have done it before the lock was ours.
            if path.name not in _noted(notes):
                later = [other for other in paths if other.name > path.name]
                closed += _close_streams(streams, path, later)
                _note(notes, path.name)
        finally:
            folder.release()
    for name in done - {path.name for path in paths}:
        (notes / name).unlink(missing_ok=True)
    return closed


def _close_streams(streams: SessionStreams, path: Path, later: list[Path]) -> list[str]:
    opened: dict[str, tuple[str, int]] = {}
    for found in scan(path, BEGINNING, EVERYTHING, STARTS, ENDS):
        if isinstance(found, int) or (chunk := chunk_of(found, path.name)) is None:
            continue
        if chunk.kind == "start" and chunk.stream_id is not None:
            opened[chunk.stream_id] = (chunk.session_id, found.begin)
        elif chunk.stream_id is not None:
            opened.pop(chunk.stream_id, None)
    # One who adopted before may have died between the end and the note.
    for other in later if opened else []:
        for found in scan(other, BEGINNING, EVERYTHING, ENDS):
            if not isinstance(found, int) and (chunk := chunk_of(found, other.name)) is not None:
                opened.pop(chunk.stream_id or "", None)
    for stream_id, (session_id, begin) in opened.items():
        streams.interrupt(session_id, _so_far(path, session_id, stream_id, begin))
    return list(opened)


def _so_far(path: Path, session_id: str, stream_id: str, begin: int) -> dict[str, object]:
    """Return what a stream had brought, as the payload of an event."""
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


def _noted(notes: Path) -> set[str]:
    try:
        return set(os.listdir(notes))
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise JournalError("list", notes, error.strerror or error) from error


def _note(notes: Path, writer: str) -> None:
    try:
        notes.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(notes / writer, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        hint = "Streams that were interrupted are looked for again at the next start"
        raise JournalError("write", notes / writer, error.strerror or error, hint) from error
