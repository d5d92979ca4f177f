"""Reading the live and archived records of one thread's folder, without damaged lines."""

from __future__ import annotations

import logging
import os
import tempfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from wakelog.audit._codec import event_of
from wakelog.audit._log import Logged
from wakelog.audit._thread_folder import header_in, read_watermark, segment_with
from wakelog.errors import CorruptLineError
from wakelog.journal import Cursor, Mark
from wakelog.runtime import SYSTEM, JournalErrors, is_directory, read_small
from wakelog.storage import COMPRESSED, segment_name, segments

_log = logging.getLogger("wakelog")
_RECORDS, _BYTES = 512, 1024 * 1024
ARCHIVE = "archive"
LONGEST_ARCHIVED = 256 * 1024 * 1024
"""The maximum size in bytes of a segment that can be archived."""


def watermark(path: Path) -> int:
    """Return the ordinal up to which a thread is archived."""
    stated = read_watermark(path)
    if stated is not None or not segments(path / ARCHIVE, COMPRESSED, missing_ok=True):
        return stated or 0
    # The file was lost. At least what is compressed had been archived.
    live = segments(path, missing_ok=True)
    header = header_in(path / segment_name(live[0])) if live else None
    return header.last_seq if header else 0


def live(path: Path, cursor: int, limit: int | None) -> list[Logged]:
    """Read what is not archived.

    Raises:
        JournalError: If reading fails.
    """
    while True:
        archived_up_to = watermark(path)
        after = max(cursor, archived_up_to)
        found = list(islice(_live(path, after), limit))
        # If it changed, archiving may have removed segments during the read.
        if watermark(path) == archived_up_to:
            return found


def archived(path: Path, cursor: int, limit: int | None) -> list[Logged]:
    """Read what is archived.

    Raises:
        JournalError: If reading fails.
    """
    while True:
        compressed = segments(path / ARCHIVE, COMPRESSED, missing_ok=True)
        found = list(islice(_archived(path, compressed, cursor, watermark(path)), limit))
        if segments(path / ARCHIVE, COMPRESSED, missing_ok=True) == compressed:
            return found


def _archived(path: Path, compressed: list[int], cursor: int, up_to: int) -> Iterator[Logged]:
    after = max(cursor, 0)
    for index in compressed:
        for logged in _compressed(path / ARCHIVE / segment_name(index, COMPRESSED), index, after):
            if logged.ordinal > up_to:
                return
            after = logged.ordinal
            yield logged
    for logged in _live(path, after):
        if logged.ordinal > up_to:
            return
        yield logged


def _compressed(path: Path, index: int, after: int) -> Iterator[Logged]:
    """Read one compressed segment, by way of a decompressed temporary file."""
    with tempfile.TemporaryDirectory(prefix="wakelog-") as folder:
        segment = os.path.join(folder, segment_name(index))
        SYSTEM.write_whole(segment, decompressed(path))
        yield from _records(Path(folder), index, after, path)


def decompressed(path: Path) -> bytes:
    """Return the content of a compressed segment, up to the first damage.

    Raises:
        JournalError: If reading fails.
    """
    with JournalErrors("read", path):
        data = read_small(path, LONGEST_ARCHIVED)
    unpack = zlib.decompressobj(wbits=31)
    found = bytearray()
    try:
        # In small steps, to get everything before the damage.
        for start in range(0, len(data), 512):
            found += unpack.decompress(data[start : start + 512], LONGEST_ARCHIVED)
            if len(found) > LONGEST_ARCHIVED:
                break  # a segment cannot be this large
        whole = unpack.eof
    except zlib.error:
        whole = False
    if not whole:
        _log.warning("%s is damaged; reading what is before the damage", path)
    return bytes(found)


def _live(path: Path, after: int) -> Iterator[Logged]:
    if is_directory(path):
        yield from _records(path, segment_with(path, after), after, path)


def _records(folder: Path, segment: int, after: int, shown: Path) -> Iterator[Logged]:
    cursor = Cursor(folder, Mark(segment=segment))
    damaged = 0
    try:
        while (chunk := cursor.read(_RECORDS, _BYTES)).entries or chunk.damaged:
            damaged += len(chunk.damaged)
            for entry in chunk.entries:
                if entry.record.seq <= after:
                    continue
                try:
                    yield Logged(entry.record.seq, event_of(entry.record))
                except CorruptLineError:
                    damaged += 1
    finally:
        cursor.close()
        if damaged:
            _log.warning("passed over %d damaged lines in %s", damaged, shown)
