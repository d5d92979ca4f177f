"""HTTP requests that end by a deadline and whose answers take a bounded amount of memory.

A time-out of ``requests`` and ``urllib3`` is for each operation on the socket, so that an answer that comes
byte by byte takes for ever, and they decode a body to its end. Here a whole attempt has a deadline: every operation
on the socket gets what is left of it. Resolving a host name is the exception, for which Python has no time-out.
"""

from __future__ import annotations

import io
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from wakelog._bodies import ACCEPTED_ENCODINGS, Body
from wakelog.runtime import PerThread

_PIECE = 2048
_PROVIDERS = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER"


class Limit:
    """What one request may take.

    Attributes:
        until: When it ends, by ``time.monotonic()``; None for never.
        cut: Whether the answer was longer than what was read of it.
    """

    def __init__(self, until: float | None) -> None:
        self.until, self.cut = until, False


_limit = PerThread[Limit | None](None)


@contextmanager
def limited(timeout: object) -> Iterator[Limit]:
    """Give the requests that this thread makes in the block a deadline, and their answers a size.

    Only those through a ``BoundedAdapter`` keep to it.

    Args:
        timeout: Seconds, or the two of ``requests``, for connecting and for reading.
    """
    parts = timeout if isinstance(timeout, tuple) else (timeout,)
    seconds = [part for part in parts if isinstance(part, int | float)]
    limit = Limit(time.monotonic() + sum(seconds) if seconds else None)
    with _limit.set(limit):
        yield limit


class BoundedSession(requests.Session):
    """A session of Wakelog's own, all of whose requests are bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = ACCEPTED_ENCODINGS
        for scheme in ("http://", "https://"):
            self.mount(scheme, BoundedAdapter())

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """Make a request within its time-out; the answer has the first 64 KiB of the body."""
        with limited(options.get("timeout")):
            return super().request(method, url, *args, **options)


def bound_session(session: object) -> None:
    """Have a session of somebody else's keep to the limits, in attempts of Wakelog's.

    Adapters that are of a class of the user's stay as they are: what they do is theirs.
    """
    if not isinstance(session, requests.Session):
        return
    for scheme, adapter in list(session.adapters.items()):
        if type(adapter) is HTTPAdapter:
            bounded = BoundedAdapter()
            bounded.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
            session.mount(scheme, bounded)


def has_provider(signal: str) -> bool:
    """Return whether the environment names what gives the exporter of a signal its session."""
    names = _PROVIDERS.format(""), _PROVIDERS.format(f"{signal.upper()}_")
    return any(os.environ.get(name) for name in names)


def session_for(signal: str) -> BoundedSession | None:
    """Return a session for an exporter of Wakelog's making, None where the user provides one."""
    return None if has_provider(signal) else BoundedSession()


class BoundedAdapter(HTTPAdapter):
    """Keeps to the limit of the thread, where one is set; else it is what it derives from."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools, whose connections keep to the limit."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        """Make the pools for a proxy. Connections by SOCKS have a class of their own."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **options)
        if type(manager) is urllib3.ProxyManager:
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Send a request, and read its answer within the limit."""
        answer = super().send(request, *args, **options)
        if (limit := _limit.get()) is not None:
            answer.raw = io.BytesIO(_read(answer, limit))
        return answer


def _read(answer: requests.Response, limit: Limit) -> bytes:
    """Read an answer's body; the connection is kept only when that was all of it.

    Raises:
        requests.RequestException: When it breaks off, cannot be decoded or takes too long.
    """
    raw = answer.raw
    body, done = Body(answer.headers.get("Content-Encoding", "")), False
    try:
        while body.add(piece := raw.read(_PIECE, decode_content=False)):
            if not piece:
                done = True
                break
    except zlib.error as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.exceptions.ReadTimeout(error) from error
    except urllib3.exceptions.ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(error) from error
    finally:
        (raw.release_conn if done else raw.close)()
    limit.cut = body.cut
    return bytes(body)


class _Reads(io.RawIOBase):
    """The reading end of a socket."""

    def __init__(self, sock: Any) -> None:
        # It keeps the socket open until it is closed itself, as http.client relies on.
        self._sock, self._file = sock, sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _leave_time(self._sock)
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Socket:
    """A socket, each of whose operations gets what is left of the limit."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def sendall(self, data: Any, *flags: int) -> None:
        view = memoryview(data).cast("B")
        while view:
            _leave_time(self._sock)
            view = view[self._sock.send(view, *flags) :]

    def makefile(self, mode: str, *args: Any, **options: Any) -> Any:
        if mode != "rb":
            return self._sock.makefile(mode, *args, **options)
        return io.BufferedReader(_Reads(self._sock))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def _leave_time(sock: Any) -> None:
    limit = _limit.get()
    if limit is None or limit.until is None:
        return
    left = limit.until - time.monotonic()
    if left <= 0:
        message = "timed out"
        raise TimeoutError(message)
    sock.settimeout(left)


class _Wrapping:
    """A connection that has its sockets keep to the limit, beginning with a handshake of TLS."""

    _bounded: _Socket | None = None

    @property
    def sock(self) -> Any:
        return self._bounded

    @sock.setter
    def sock(self, sock: Any) -> None:
        if sock is not None and not isinstance(sock, _Socket):
            _leave_time(sock)
            sock = _Socket(sock)
        self._bounded = sock


class _HTTPConnection(_Wrapping, HTTPConnection):
    pass


class _HTTPSConnection(_Wrapping, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS: dict[str, type] = {"http": _HTTPPool, "https": _HTTPSPool}
