"""The Merkle tree of RFC 9162, section 2.1: its root, and the inclusion path of a leaf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from wakelog.record import sealed_form

# Subtrees of this many leaves are hashed level by level, which is fastest and limits memory.
_SUBTREE = 4096


def leaf_of(data: bytes) -> bytes:
    """Return the hash of data as a leaf."""
    return sha256(b"\x00" + data).digest()


def leaves_of(lines: Iterable[bytes]) -> list[bytes]:
    """Return the leaves of lines without their newlines: the hashes of their sealed forms."""
    hashed, form_of = sha256, sealed_form
    return [hashed(form_of(line, b"\x00")).digest() for line in lines]


class Tree:
    """Adds leaves one after another and computes their root, in logarithmic memory.

    Attributes:
        size: The number of leaves.
    """

    def __init__(self) -> None:
        self.size = 0
        self._leaves: list[bytes] = []
        # Roots of complete subtrees, each with the number of its leaves in units of ``_SUBTREE``.
        self._roots: list[tuple[int, bytes]] = []

    def add(self, leaves: Iterable[bytes]) -> None:
        """Add leaves at the end."""
        self._leaves.extend(leaves)
        while len(self._leaves) >= _SUBTREE:
            part, self._leaves = self._leaves[:_SUBTREE], self._leaves[_SUBTREE:]
            self.size += _SUBTREE
            size, root = 1, root_of(part)
            while self._roots and self._roots[-1][0] == size:
                root = _node(self._roots.pop()[1], root)
                size *= 2
            self._roots.append((size, root))

    def finish(self) -> bytes:
        """Return the root. No leaves may be added afterwards."""
        self.size += len(self._leaves)
        parts = [root for _, root in self._roots]
        if self._leaves or not parts:
            parts.append(root_of(self._leaves))
        root = parts.pop()
        while parts:
            root = _node(parts.pop(), root)
        return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a tree from its leaves' hashes."""
    level = list(leaves)
    if not level:
        return sha256(b"").digest()
    hashed = sha256
    while len(level) > 1:
        above = [
            hashed(b"\x01" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        if len(level) % 2:
            above.append(level[-1])  # an incomplete subtree keeps its root
        level = above
    return level[0]


def path_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the inclusion path of one leaf, from its sibling upwards.

    Args:
        leaves: The hashes of all leaves.
        index: The leaf's index, from 0.
    """
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = [
            _node(level[at], level[at + 1]) if at + 1 < len(level) else level[at]
            for at in range(0, len(level), 2)
        ]
        index //= 2
    return path


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
