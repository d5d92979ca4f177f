"""Reads the body of an HTTP response in bounded memory.

A megabyte of gzip can decode to a gigabyte. A next hop's response has a few lines, so at most
``LONGEST_BODY`` bytes are read and decoded.
"""

from __future__ import annotations

import zlib
from typing import Final

LONGEST_BODY: Final = 64 * 1024
# The only encodings that are requested, because HTTP libraries decode others without a limit.
ACCEPTED_ENCODINGS: Final = "gzip, deflate"

_GZIP: Final = ("gzip", "x-gzip")


class Body:
    """The decoded beginning of a body that arrives in pieces.

    Args:
        encoding: The header ``Content-Encoding``. A body in an encoding other than gzip and deflate is
            not decoded.

    Attributes:
        cut: Whether the body was longer than the kept part.
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
            piece: The next bytes, at most a few KiB.

        Returns:
            Whether there is room for more.

        Raises:
            zlib.error: When the piece cannot be decoded.
        """
        self._read += len(piece)
        if self._unpacker is None:
            self._keep(piece)
        while piece and self._unpacker is not None and not self.cut:
            try:
                self._keep(self._unpacker.decompress(piece, self._room + 1))
            except zlib.error:
                # Some servers send raw deflate data, without the zlib header.
                if self._encoding != "deflate" or self._kept or self._bare:
                    raise
                self._bare, self._unpacker = True, zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            piece = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if self._unpacker.eof:
                self._unpacker = self._new_unpacker()
                if self._encoding not in _GZIP:
                    break  # further bytes are not part of the body
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
