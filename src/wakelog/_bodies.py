"""Reads the body of an HTTP response in bounded memory.

A megabyte of gzip can stand for a gigabyte. What a next hop has to say fits into a few lines, so no more than
``LONGEST_BODY`` of it is decoded, and no more than that is read.
"""

from __future__ import annotations

import zlib
from typing import Final

LONGEST_BODY: Final = 64 * 1024
# Asked for instead of what the HTTP libraries can decode, which they do without a limit.
ACCEPTED_ENCODINGS: Final = "gzip, deflate"

_GZIP: Final = ("gzip", "x-gzip")


class Body:
    """The decoded beginning of a body that arrives in pieces.

    Args:
        encoding: The header ``Content-Encoding``. A body in an encoding other than gzip and deflate is
            kept as it came.

    Attributes:
        cut: Whether there was more than is kept.
    """

    def __init__(self, encoding: str = "") -> None:
        self._encoding = encoding.strip().lower()
        self._unpacker = self._new_unpacker()
        self._kept = bytearray()
        self._read = 0
        self.cut = False

    def __bytes__(self) -> bytes:
        return bytes(self._kept)

    def add(self, piece: bytes) -> bool:
        """Decode a piece of the body.

        Args:
            piece: The next bytes, of which one piece should have no more than a few KiB.

        Returns:
            Whether there is room for more.

        Raises:
            zlib.error: When it cannot be decoded.
        """
        self._read += len(piece)
        if self._unpacker is None:
            self._keep(piece)
        while piece and self._unpacker is not None and not self.cut:
            try:
                self._keep(self._unpacker.decompress(piece, self._room + 1))
            except zlib.error:
                # Some servers mean the bare format by "deflate".
                if self._encoding != "deflate" or self._kept or self._bare:
                    raise
                self._bare, self._unpacker = True, zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            piece = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if self._unpacker.eof:
                self._unpacker = self._new_unpacker()
                if self._encoding not in _GZIP:
                    break  # what follows is no part of the body
        self.cut = self.cut or self._read > LONGEST_BODY
        return not self.cut

    _bare = False

    @property
    def _room(self) -> int:
        return LONGEST_BODY - len(self._kept)

    def _new_unpacker(self) -> zlib._Decompress | None:
        if self._encoding in _GZIP:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return zlib.decompressobj() if self._encoding == "deflate" else None

    def _keep(self, decoded: bytes) -> None:
        self.cut = self.cut or len(decoded) > self._room
        self._kept += decoded[: self._room]
