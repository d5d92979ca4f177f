"""Checkpoints: seals as log records, which are delivered with the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from wakelog.errors import CorruptLineError, JournalError
from wakelog.events import semconv as s
from wakelog.evidence._scan import lines_between
from wakelog.evidence._seal import Seal, checkpoint_of, parse_seal
from wakelog.journal import Journal
from wakelog.record import Resource, encode, read_header, rfc3339, uuid7
from wakelog.storage import LONGEST_LINE, segment_name, segments


def record_checkpoint(journal: Journal, folder: Path, seal: Seal) -> None:
    """Write a seal to a journal as a record, so that it is delivered like every record.

    Args:
        journal: The journal.
        folder: The sealed folder; the record has the same resource.
        seal: The seal.

    Raises:
        SinkError: If the journal does not accept it.
    """
    resource = _resource_of(folder)
    if resource is None:
        return
    now = rfc3339(time.time_ns())
    fields: dict[str, object] = {
        "timestamp": now,
        "event_name": s.CHECKPOINT,
        "severity_number": 9,
        "severity_text": "INFO",
        **checkpoint_of(seal),
    }
    journal.append(uuid7(), encode(fields, LONGEST_LINE), resource)


def _resource_of(folder: Path) -> Resource | None:
    """Return the resource of the newest segment whose header can be read."""
    for index in reversed(segments(folder, missing_ok=True)):
        path = folder / segment_name(index)
        try:
            _, line = next(lines_between(path, 0))
            return read_header(line, str(path)).resource
        except (CorruptLineError, JournalError, OSError, StopIteration):
            continue
    return None


def seals_in(line: bytes) -> Iterator[Seal]:
    """Yield the seals on a line: a single one, or all in a record that a backend has exported.

    Args:
        line: A line of JSON: a seal, or a record or an OTLP-JSON request with checkpoints.
    """
    if (seal := parse_seal(line)) is not None:
        yield seal
        return
    try:
        data = orjson.loads(line)
    except ValueError:
        return
    yield from _seals_of(data)


def _seals_of(data: Any) -> Iterator[Seal]:
    if isinstance(data, str) and data.startswith('{"kind":"'):
        if (seal := parse_seal(data.encode())) is not None:
            yield seal
    elif isinstance(data, dict):
        for value in data.values():
            yield from _seals_of(value)
    elif isinstance(data, list):
        for value in data:
            yield from _seals_of(value)
