"""Requests that Wakelog has encoded itself, sent by the official exporters with all their settings.

Such an exporter encodes whatever is in a batch. It is given one with nothing in it, and its encoded message, of no
bytes, is replaced where its answer is heard too. So endpoint, headers, credentials, compression, time-outs, proxies
and the exporter's own metrics are as ever, and no name of the exporter's is needed for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

DIRECT_ENCODING: Final = "WAKELOG_DIRECT_ENCODING"
_GZIP = 16 + zlib.MAX_WBITS


class CountedBatch(Sequence[Any]):
    """A batch that says how many records it stands for, and has none to look at.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(index)


def compressed_like(empty: object, request: bytes) -> bytes | None:
    """Compress a request as an exporter has compressed a message of no bytes.

    Compressing takes place outside the interpreter's lock.

    Args:
        empty: What the exporter made of the empty message.
        request: The request.

    Returns:
        The request, None when it is not known what the exporter did.
    """
    if type(empty) is not bytes:
        return None
    if not empty:
        return request
    for bits in (_GZIP, zlib.MAX_WBITS):
        try:
            if zlib.decompress(empty, bits):
                return None
        except zlib.error:
            continue
        compressor = zlib.compressobj(wbits=bits)
        return compressor.compress(request) + compressor.flush()
    return None
