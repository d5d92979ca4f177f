"""Reading the whole lines of a part of a segment, and what a seal says of them."""

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
from wakelog.storage import LONGEST_BLOCK

_BLOCK = 64 * 1024
_SEQ = re.compile(rb'\{"id":"[^"\\]*","seq":(\d+)')
# No more than this is a few lines that may all be checkpoints.
_FEW_BYTES = 64 * 1024


@dataclass(slots=True)
class Part:
    """The whole lines from an offset of a segment on.

    Attributes:
        offset: Where they begin.
        size: How many bytes they have.
        lines: How many they are.
        root: Their Merkle root.
        first_seq: The number of the first record among them, 0 without any.
        last_seq: That of the last one.
        marks: The beginning of each line's hash.
        leaves: The hashes, where they were asked for.
        only_checkpoints: Whether they say nothing but what the next hop was told of earlier seals.
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
    """Read and hash the whole lines of a segment from an offset on.

    Between two blocks other threads get their turn, so that whoever records is not kept waiting.

    Args:
        path: The segment.
        offset: The start of the first line.
        end: Where to stop; by default at the end of the last whole line.
        keep: Whether the hashes of all lines are kept.

    Raises:
        OSError: When the file cannot be read.
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
    """Tell whether a segment says more than what the next hop was told of earlier seals.

    It is read up to the first line that does.

    Raises:
        OSError: When the file cannot be read.
    """
    return any(
        offset + len(line) > _FEW_BYTES or _is_news(line) for offset, line in lines_between(path, 0)
    )


def _is_news(line: bytes) -> bool:
    return seal_on(line) is None and not is_header(line)


def seq_of(line: bytes) -> int:
    """Return the number of the record on a line, 0 where it is none."""
    if (found := _SEQ.match(line)) is not None:
        return int(found[1])
    if not line.startswith(b'{"id":'):
        return 0
    try:
        return int(orjson.loads(line)["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


def lines_between(path: Path, offset: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a part of a segment, each with its offset and without its newline.

    Raises:
        OSError: When the file cannot be read.
    """
    for lines in _blocks_of_lines(path, offset, end):
        for line in lines:
            yield offset, line
            offset += len(line) + 1


def _blocks_of_lines(path: Path, offset: int, end: int | None) -> Iterator[list[bytes]]:
    """Yield whole lines without their newlines, some at a time."""
    descriptor = open_file(path, os.O_RDONLY)
    try:
        begun: list[bytes] = []
        waiting = 0
        while True:
            wanted = _BLOCK if end is None else min(_BLOCK, end - offset)
            block = os.pread(descriptor, wanted, offset) if wanted > 0 else b""
            if not block or waiting > LONGEST_BLOCK:
                return  # what is left has no end, or is too long for a line
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
