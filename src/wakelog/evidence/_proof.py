"""Proving one event: the seal that covers its line, and the path from the line to the seal's root."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.errors import ConfigurationError, JournalError
from wakelog.evidence._merkle import path_of
from wakelog.evidence._scan import count_lines, lines_between, scan
from wakelog.evidence._seal import SEAL, Seal
from wakelog.evidence._seal_file import read_seals
from wakelog.journal import folders
from wakelog.storage import segment_name, segments


class Proof(NamedTuple):
    """A proof that a line was sealed.

    Attributes:
        line: The line, with its newline.
        bundle: The seal, the line's index and the path, as JSON of at most 2 kB.
    """

    line: bytes
    bundle: bytes
    seal: Seal


def prove(root: Path, event_id: str, writer: str | None = None) -> Proof:
    """Return the proof of one event.

    Args:
        root: The journal's directory.
        event_id: The event's full id.
        writer: Search only this writer's folder.

    Raises:
        ConfigurationError: If there is no such event, or no seal covers it yet.
        JournalError: If reading fails, or the segment is not what was sealed.
    """
    wanted = b'{"id":%b,' % orjson.dumps(event_id)
    for folder in folders(root, writer):
        for index in segments(folder, missing_ok=True):
            path = folder / segment_name(index)
            try:
                for offset, line in lines_between(path, 0):
                    if line.startswith(wanted):
                        return _proof_of(folder, index, offset, line)
            except FileNotFoundError:
                continue  # it has just been deleted
            except OSError as error:
                raise JournalError("read", path, error.strerror or error) from error
    raise ConfigurationError(f"there is no event {event_id!r} in {root}: give the whole id")


def _proof_of(folder: Path, index: int, offset: int, line: bytes) -> Proof:
    for _, _, seal in read_seals(folder):
        if seal is None or seal.kind != SEAL or seal.segment != index:
            continue
        if not seal.offset <= offset < seal.end:
            continue
        path = folder / segment_name(index)
        part = scan(path, seal.offset, seal.end, keep=True)
        if part.root.hex() != seal.fields.get("root"):
            cause = f"it is not what was sealed (seal {seal.number}): run wakelog verify --keys"
            raise JournalError("prove from", path, cause)
        place = count_lines(path, seal.offset, offset)
        bundle = {
            "wakelog_proof": 1,
            "index": place,
            "path": b64encode(b"".join(path_of(part.leaves, place))).decode(),
            "seal": seal.text.decode(),
        }
        return Proof(line + b"\n", orjson.dumps(bundle) + b"\n", seal)
    raise ConfigurationError(
        "no seal covers the event yet: it is sealed at the next interval, or when its process ends"
    )
