"""A next hop that attacks whoever reads its answers: with floods, bombs, and answers that never end.

The first part of the path says which attack it is; any other path is answered well.
"""

from __future__ import annotations

import functools
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

_MIB: Final = b"\0" * (1 << 20)
_OK: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"
_SECONDS_BETWEEN_DRIPS: Final = 0.1


@functools.cache
def _packed(window: int, members: int, mib: int = 200) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    one = b"".join(packer.compress(_MIB) for _ in range(mib // members)) + packer.flush()
    return one * members


def _with_length(head: str, body: bytes) -> Iterator[bytes]:
    yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _bomb(window: int, encoding: str, head: str = _OK, members: int = 1) -> Iterator[bytes]:
    body = _packed(window, members)
    return _with_length(f"{head}Content-Encoding: {encoding}\r\n", body)


def _flood(head: str, piece: bytes) -> Iterator[bytes]:
    yield head.encode() + b"\r\n"
    for _ in range(200):
        yield piece


def _drip(at_once: str, drop: bytes) -> Iterator[bytes]:
    yield at_once.encode()
    while True:
        yield drop


_CHUNKED: Final = f"{_OK}Transfer-Encoding: chunked\r\n"
# An answer that fills the memory of who reads all of it.
FLOODS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "gzip": lambda: _bomb(31, "gzip"),
    "gzip-of-many-members": lambda: _bomb(31, "x-gzip", members=200),
    "zlib": lambda: _bomb(15, "deflate"),
    "bare-deflate": lambda: _bomb(-15, "deflate"),
    "gzip-in-an-error": lambda: _bomb(31, "gzip", "HTTP/1.1 500 No\r\n"),
    "gzip-in-a-redirect": lambda: _bomb(31, "gzip", "HTTP/1.1 302 No\r\nLocation: /elsewhere\r\n"),
    "endless": lambda: _flood(_OK, _MIB),
    "endless-chunks": lambda: _flood(_CHUNKED, b"100000\r\n" + _MIB + b"\r\n"),
    "endless-text": lambda: _flood(
        "HTTP/1.1 503 No\r\nContent-Type: text/plain\r\n", b"a" * (1 << 20)
    ),
}
# An answer each part of which comes within any time-out, and which never ends.
DRIPS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "status": lambda: _drip("HTTP/1.1 200 ", b"x"),
    "headers": lambda: _drip(f"{_OK}X-A: ", b"x"),
    "body": lambda: _drip(f"{_OK}Content-Length: 60000\r\n\r\n", b"\n"),
    "body-without-length": lambda: _drip(f"{_OK}\r\n", b"\n"),
    "gzip-header": lambda: _drip(f"{_OK}Content-Encoding: gzip\r\n\r\n", b"\x1f"),
    "chunks": lambda: _drip(f"{_CHUNKED}\r\n", b"1\r\n\n\r\n"),
    "trailers": lambda: _drip(f"{_CHUNKED}\r\n0\r\n", b"X-A: b\r\n"),
    "continues": lambda: _drip("", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


class HostileHop:
    """The server, over plain sockets, as no library for servers answers like this."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._deaf = False
        self.port = self._listening.getsockname()[1]

    def url(self, attack: str) -> str:
        """Return the address of an attack."""
        return f"http://127.0.0.1:{self.port}/{attack}"

    def stop_reading(self) -> None:
        """Leave requests unread from now on."""
        self._deaf = True

    def __enter__(self) -> Self:
        for attack in FLOODS.values():
            next(attack())  # so that none has to be made while somebody waits
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._attack, args=(connection,), daemon=True).start()

    def _attack(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as request:
            try:
                if self._deaf:
                    self._stopped.wait()
                    return
                path = request.readline().split()[1].decode().split("/")[1]
                length = 0
                while (line := request.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                request.read(length)
                attack = FLOODS.get(path) or DRIPS.get(path)
                for piece in attack() if attack else _with_length(_OK, b""):
                    connection.sendall(piece)
                    if path in DRIPS and self._stopped.wait(_SECONDS_BETWEEN_DRIPS):
                        return
            except (OSError, IndexError):
                return  # the client has gone, as it should
