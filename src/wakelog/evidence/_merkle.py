"""The Merkle tree of RFC 9162, section 2.1: its root, and the inclusion path of a leaf.

Hashes are kept one after another in one ``bytes`` object, each of ``HASH_BYTES``.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from wakelog._native import native
from wakelog.record import SALTED_FIELD, sealed_form

HASH_BYTES = 32
"""The size of a hash."""
# Subtrees of this many leaves are hashed level by level, which is fastest and limits memory.
_SUBTREE = 4096


def leaf_of(data: bytes) -> bytes:
    """Return the hash of data as a leaf."""
    return sha256(b"\x00" + data).digest()


def _leaves_of(block: bytes) -> bytes:
    """Return the leaves of the lines of a block: the hashes of their sealed forms.

    Args:
        block: The lines, with a newline between two of them and none at the end.
    """
    hashed, form_of, lines = sha256, sealed_form, block.split(b"\n")
    if SALTED_FIELD not in block:  # so that no line need be searched for its salted part
        return b"".join([hashed(b"\x00" + line).digest() for line in lines])
    return b"".join([hashed(form_of(line, b"\x00")).digest() for line in lines])


def _root_of(leaves: bytes) -> bytes:
    """Return the root of a tree from its leaves' hashes."""
    if not leaves:
        return sha256(b"").digest()
    hashed, level = sha256, leaves
    while (size := len(level)) > HASH_BYTES:
        rest = size % (2 * HASH_BYTES)  # an incomplete subtree keeps its root
        above = [
            hashed(b"\x01" + level[at : at + 2 * HASH_BYTES]).digest()
            for at in range(0, size - rest, 2 * HASH_BYTES)
        ]
        level = b"".join(above) + level[size - rest :]
    return level


leaves_of: Callable[[bytes], bytes] = _leaves_of if native is None else native.leaves_of
root_of: Callable[[bytes], bytes] = _root_of if native is None else native.root_of


class Tree:
    """Adds leaves one after another and computes their root, in logarithmic memory.

    Attributes:
        size: The number of leaves.
    """

    def __init__(self) -> None:
        self.size = 0
        self._leaves = b""
        # Roots of complete subtrees, each with the number of its leaves in units of ``_SUBTREE``.
        self._roots: list[tuple[int, bytes]] = []

    def add(self, leaves: bytes) -> None:
        """Add the hashes of leaves at the end."""
        self.size += len(leaves) // HASH_BYTES
        self._leaves += leaves
        cut = _SUBTREE * HASH_BYTES
        while len(self._leaves) >= cut:
            size, root = 1, root_of(self._leaves[:cut])
            self._leaves = self._leaves[cut:]
            while self._roots and self._roots[-1][0] == size:
                root = _node(self._roots.pop()[1], root)
                size *= 2
            self._roots.append((size, root))

    def finish(self) -> bytes:
        """Return the root. No leaves may be added afterwards."""
        parts = [root for _, root in self._roots]
        if self._leaves or not parts:
            parts.append(root_of(self._leaves))
        root = parts.pop()
        while parts:
            root = _node(parts.pop(), root)
        return root


def path_of(leaves: bytes, index: int) -> list[bytes]:
    """Return the inclusion path of one leaf, from its sibling upwards.

    Args:
        leaves: The hashes of all leaves.
        index: The leaf's index, from 0.
    """
    path: list[bytes] = []
    width = HASH_BYTES  # of the subtree with the leaf, as that of its sibling
    while width < len(leaves):
        begin = (index * HASH_BYTES // width ^ 1) * width
        if begin < len(leaves):
            path.append(root_of(leaves[begin : begin + width]))
        width *= 2
    return path


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
