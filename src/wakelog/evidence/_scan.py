"""Reading the complete lines of a part of a segment, with the data for their seal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from wakelog.evidence._merkle import HASH_BYTES, Tree, leaves_of
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
        leaves: The hashes, one after another, if requested.
        only_checkpoints: Whether the lines are only checkpoints of earlier seals.
    """

    offset: int
    size: int = 0
    lines: int = 0
    root: bytes = b""
    first_seq: int = 0
    last_seq: int = 0
    marks: bytes = b""
    leaves: bytes = b""
    only_checkpoints: bool = False


def scan(path: Path, offset: int, end: int | None = None, *, keep: bool = False) -> Part:
    """Read and hash the complete lines of a segment from an offset on.

    Between two blocks other threads can run, so that recording is not delayed. With the compiled
    encoders, they can also run while a block is hashed.

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
    kept: list[bytes] = []
    only_checkpoints = True
    for block in _blocks_of_lines(path, offset, end):
        leaves = leaves_of(block)
        tree.add(leaves)
        marks.append(marks_of(leaves))
        kept += [leaves] if keep else ()
        part.size += len(block) + 1
        if not part.first_seq:
            part.first_seq = _first_seq(block)
        part.last_seq = _last_seq(block) or part.last_seq
        only_checkpoints = (
            only_checkpoints
            and part.size <= _FEW_BYTES
            and not any(map(_is_news, block.split(b"\n")))
        )
    part.root = tree.finish()
    part.lines = tree.size
    part.marks, part.leaves = b"".join(marks), b"".join(kept)
    part.only_checkpoints = only_checkpoints and part.lines > 0
    return part


def marks_of(leaves: bytes) -> bytes:
    """Return the first bytes of each hash."""
    marks = bytearray(len(leaves) // HASH_BYTES * MARK_BYTES)
    for at in range(MARK_BYTES):
        marks[at::MARK_BYTES] = leaves[at::HASH_BYTES]
    return bytes(marks)


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


def _first_seq(block: bytes) -> int:
    # Usually the first line has a record, so that the block need not be split.
    return seq_of(block.split(b"\n", 1)[0]) or _next_seq(block.split(b"\n"))


def _last_seq(block: bytes) -> int:
    return seq_of(block[block.rfind(b"\n") + 1 :]) or _next_seq(reversed(block.split(b"\n")))


def _next_seq(lines: Iterable[bytes]) -> int:
    return next(filter(None, map(seq_of, lines)), 0)


def lines_between(path: Path, offset: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a part of a segment with their offsets, without newlines.

    Raises:
        OSError: If the file cannot be read.
    """
    for block in _blocks_of_lines(path, offset, end):
        for line in block.split(b"\n"):
            yield offset, line
            offset += len(line) + 1


def count_lines(path: Path, offset: int, end: int | None = None) -> int:
    """Return the number of complete lines of a part of a segment.

    Raises:
        OSError: If the file cannot be read.
    """
    return sum(block.count(b"\n") + 1 for block in _blocks_of_lines(path, offset, end))


def hashes_between(path: Path, offset: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the hashes of the complete lines of a part of a segment.

    Yields:
        The offset of the line, the offset after it, and the hash of its sealed form.

    Raises:
        OSError: If the file cannot be read.
    """
    for block in _blocks_of_lines(path, offset, end):
        leaves = leaves_of(block)
        for number, line in enumerate(block.split(b"\n")):
            begin, offset = offset, offset + len(line) + 1
            yield begin, offset, leaves[number * HASH_BYTES : (number + 1) * HASH_BYTES]


def _blocks_of_lines(path: Path, offset: int, end: int | None) -> Iterator[bytes]:
    """Yield blocks of complete lines, without the newline after the last one."""
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
            yield b"".join([*begun, block[:cut]])
            begun, waiting = [block[cut + 1 :]], len(block) - cut - 1
    finally:
        os.close(descriptor)
