"""Searching the journal's text in the lines themselves, because the index has no content."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from wakelog.index._event import OFFSET_BITS
from wakelog.index._sources import Held, sources_of
from wakelog.record import SALTED, put_content_back
from wakelog.runtime import open_file, open_to_read
from wakelog.storage import blob_folder

_BLOCK = 4 << 20


def positions_with(
    connection: sqlite3.Connection, held: Held, text: str, where: str, values: Sequence[Any]
) -> Iterator[int]:
    """Yield the positions of events whose lines, or values beside them, contain a text.

    Args:
        connection: The index.
        held: What the index is of.
        text: The text, with ASCII letters in any case.
        where: An SQL condition for the events.
        values: The values for the condition's parameters.
    """
    # The text as encoded in JSON, without the quotation marks.
    needle = orjson.dumps(text)[1:-1].lower()
    segments = connection.execute("SELECT path, id, number, offset FROM segments ORDER BY id")
    files = None if held.is_journal else {s.number: s.path for s in sources_of(held)}
    for name, segment, number, end in segments.fetchall():
        path = held.root / name if files is None else files.get(number)
        if path is None:
            continue
        base = segment << OFFSET_BITS
        wanted = _offsets(path, needle, end)
        first = next(wanted, None)
        beside = _digests_with(path, text)
        if first is None and not beside:
            continue
        hits = sorted(
            {*([first] if first is not None else []), *wanted, *_references(path, beside, end)}
        )
        yield from _events_at(connection, path, base, hits, where, values, text, set(beside))


def _offsets(path: Path, needle: bytes, end: int) -> Iterator[int]:
    """Yield offsets of a text in a file, at least one for each line that contains it."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return  # it has been deleted
    try:
        at, rest = 0, b""
        while at < end and (block := os.pread(fd, min(_BLOCK, end - at), at)):
            data = rest + block.lower()
            base = at - len(rest)
            found = data.find(needle)
            while found >= 0:
                yield base + found
                line_end = data.find(b"\n", found)
                found = (
                    data.find(needle, line_end) if line_end >= 0 else data.find(needle, found + 1)
                )
            at += len(block)
            rest = data[-(len(needle) - 1) :] if len(needle) > 1 else b""
    finally:
        os.close(fd)


def _digests_with(path: Path, text: str) -> list[bytes]:
    """Return the digests of the blobs of a file that contain a text."""
    folder = blob_folder(path)
    plain, escaped = text.encode("utf-8", "replace").lower(), orjson.dumps(text)[1:-1].lower()
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            with open_to_read(folder / name) as file:
                data = file.read().lower()
        except OSError:
            continue
        if plain in data or escaped in data:
            found.append(name.encode())
    return found


def _references(path: Path, digests: list[bytes], end: int) -> Iterator[int]:
    for digest in digests:
        yield from _offsets(path, digest, end)


def _events_at(
    connection: sqlite3.Connection,
    path: Path,
    base: int,
    hits: list[int],
    where: str,
    values: Sequence[Any],
    text: str,
    beside: set[bytes],
) -> Iterator[int]:
    """Yield the positions of a segment's events whose values contain the text at offsets."""
    reached, needle = -1, text.encode("utf-8", "replace").lower()
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return  # it has been deleted
    try:
        for hit in hits:
            if hit < reached:
                continue
            row = connection.execute(
                "SELECT position, length FROM events WHERE position <= ? "
                "ORDER BY position DESC LIMIT 1",
                (base + hit,),
            ).fetchone()
            if row is None or row[0] < base or hit >= row[0] - base + abs(row[1]):
                continue
            offset, length = row[0] - base, abs(row[1])
            reached = offset + length
            line = os.pread(fd, length, offset)
            if not (_has(line, needle) or any(digest in line for digest in beside)):
                continue
            if (
                where == "1"
                or connection.execute(
                    f"SELECT 1 FROM events WHERE position = ? AND ({where})",
                    (row[0], *values),
                ).fetchone()
            ):
                yield row[0]
    finally:
        os.close(fd)


def _has(line: bytes, needle: bytes) -> bool:
    """Tell whether a value of a line contains a text, and not only a name of a field."""
    try:
        data = orjson.loads(line)
    except ValueError:
        return True  # an item of a user's JSON document
    if not isinstance(data, dict):
        return True
    if SALTED in data:
        put_content_back(data)
    content = (data.get(name) for name in ("attributes", "body", "event", "severity_text"))
    return any(stands_in(value, needle) for value in content)


def stands_in(value: object, needle: bytes) -> bool:
    """Tell whether a value contains a text.

    Args:
        value: A value of a record.
        needle: The text in UTF-8, with ASCII letters in lower case.
    """
    if type(value) is str:
        return needle in value.encode("utf-8", "replace").lower()
    if type(value) is dict:
        return any(stands_in(one, needle) for one in value.values())
    if type(value) is list:
        return any(stands_in(one, needle) for one in value)
    return value is not None and type(value) is not bool and needle in str(value).encode().lower()
