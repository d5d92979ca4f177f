"""Reading the complete lines of a part of a segment, with the data for their seal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from wakelog.evidence._merkle import Tree, leaves_of
from wakelog.evidence._seal import MARK_BYTES, is_header, seal_on
from wakelog.runtime import open_file
from wakelog.storage import LONGEST_BLOCK, overwritten, patched

_BLOCK = 64 * 1024
_SEQ = re.compile(rb'\{"id":"[^"\\]*","seq":(\d+)')
# A segment of more bytes than this is not checked for having only checkpoints.
_FEW_BYTES = 64 * 1024


@dataclass(slots=True)
class Part:
    """The complete lines of a segment from an offset on.

    Attributes:
        offset: The offset of the first line.
        size: The number of bytes.
        lines: The number of lines.
        root: Their Merkle root.
        first_seq: The number of the first record; 0 if there is none.
        last_seq: The number of the last record.
        marks: The first bytes of each line's hash.
        leaves: The hashes, if requested.
        only_checkpoints: Whether the lines are only checkpoints of earlier seals.
    """

    offset: int
    size: int = 0
    lines: int = 0
    root: bytes = b""
    first_seq: int = 0
    last_seq: int = 0
    marks: bytes = b""
    leaves: list[bytes] = field(default_factory=list)
    only_checkpoints: bool = False


def scan(path: Path, offset: int, end: int | None = None, *, keep: bool = False) -> Part:
    """Read and hash the complete lines of a segment from an offset on.

    Between two blocks other threads can run, so that recording is not delayed.

    Args:
        path: The segment.
        offset: The start of the first line.
        end: Where to stop; default: at the end of the last complete line.
        keep: Whether to keep the hashes of all lines.

    Raises:
        OSError: If the file cannot be read.
    """
    part, tree = Part(offset), Tree()
    marks: list[bytes] = []
    only_checkpoints = True
    for lines in _blocks_of_lines(path, offset, end):
        leaves = leaves_of(lines)
        tree.add(leaves)
        marks += [leaf[:MARK_BYTES] for leaf in leaves]
        part.leaves += leaves if keep else ()
        part.size += sum(map(len, lines)) + len(lines)
        if not part.first_seq:
            part.first_seq = next(filter(None, map(seq_of, lines)), 0)
        part.last_seq = next(filter(None, map(seq_of, reversed(lines))), part.last_seq)
        only_checkpoints = (
            only_checkpoints and part.size <= _FEW_BYTES and not any(map(_is_news, lines))
        )
    part.root = tree.finish()
    part.lines = tree.size
    part.marks = b"".join(marks)
    part.only_checkpoints = only_checkpoints and part.lines > 0
    return part


def has_news(path: Path) -> bool:
    """Tell whether a segment has anything but checkpoints of earlier seals.

    It is read up to the first such line.

    Raises:
        OSError: If the file cannot be read.
    """
    return any(
        offset + len(line) > _FEW_BYTES or _is_news(line) for offset, line in lines_between(path, 0)
    )


def _is_news(line: bytes) -> bool:
    return seal_on(line) is None and not is_header(line)


def seq_of(line: bytes) -> int:
    """Return the number of the record on a line; 0 if it has no record."""
    if (found := _SEQ.match(line)) is not None:
        return int(found[1])
    if not line.startswith(b'{"id":'):
        return 0
    try:
        return int(orjson.loads(line)["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


def lines_between(path: Path, offset: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a part of a segment with their offsets, without newlines.

    Raises:
        OSError: If the file cannot be read.
    """
    for lines in _blocks_of_lines(path, offset, end):
        for line in lines:
            yield offset, line
            offset += len(line) + 1


def _blocks_of_lines(path: Path, offset: int, end: int | None) -> Iterator[list[bytes]]:
    """Yield blocks of complete lines without their newlines."""
    descriptor = open_file(path, os.O_RDONLY)
    try:
        parts = overwritten(path)
        begun: list[bytes] = []
        waiting = 0
        while True:
            wanted = _BLOCK if end is None else min(_BLOCK, end - offset)
            block = os.pread(descriptor, wanted, offset) if wanted > 0 else b""
            if not block or waiting > LONGEST_BLOCK:
                return  # the rest is an incomplete line, or too long for a line
            if parts:  # a crash has interrupted an erasure
                block = patched(parts, offset, block)
            offset += len(block)
            cut = block.rfind(b"\n")
            if cut < 0:
                begun.append(block)
                waiting += len(block)
                continue
            whole = b"".join([*begun, block[:cut]])
            begun, waiting = [block[cut + 1 :]], len(block) - cut - 1
            yield whole.split(b"\n")
    finally:
        os.close(descriptor)
