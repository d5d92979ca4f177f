"""Requests that Wakelog encodes, and that the official exporters send with all their settings.

The exporter is given a batch without records, and encodes it as an empty message. That message is
replaced at the place where the response is captured. Endpoint, headers, credentials, compression,
time-outs, proxies and the exporter's own metrics are unaffected, and no private name of the
exporter is needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

DIRECT_ENCODING: Final = "WAKELOG_DIRECT_ENCODING"
_GZIP = 16 + zlib.MAX_WBITS


class CountedBatch(Sequence[Any]):
    """A batch that has the length of the one it represents, and no records.

    Args:
        count: The number of records that it represents.
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
    """Compress a request in the way in which an exporter has compressed an empty message.

    Compressing releases the interpreter's lock.

    Args:
        empty: The exporter's compressed empty message.
        request: The request.

    Returns:
        The compressed request, None if the exporter's compression is unknown.
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
