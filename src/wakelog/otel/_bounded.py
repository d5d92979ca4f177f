"""HTTP requests that end by a deadline and whose responses take a bounded amount of memory.

A time-out of ``requests`` and ``urllib3`` applies to each socket operation, so a response that
arrives byte by byte never times out; and both decode a body of any size. Here a whole attempt has a
deadline: each socket operation gets the time that is left. Resolving a host name is excluded,
because Python has no time-out for it.
"""

from __future__ import annotations

import io

# requests imports netrc in its first request. A child that is forked at that moment would inherit
# the module's import lock, and wait for it in its own first request for ever.
import netrc  # noqa: F401
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
    """The limits of one request.

    Attributes:
        until: The deadline, by ``time.monotonic()``; None for none.
        cut: Whether the response was longer than the part that was read.
    """

    def __init__(self, until: float | None) -> None:
        self.until, self.cut = until, False


_limit = PerThread[Limit | None](None)


@contextmanager
def limited(timeout: object) -> Iterator[Limit]:
    """Limit the duration and the response size of the requests that this thread makes in the block.

    The limit applies only to requests through a ``BoundedAdapter``.

    Args:
        timeout: Seconds, or a tuple of the connect and the read time-out, as in ``requests``.
    """
    parts = timeout if isinstance(timeout, tuple) else (timeout,)
    seconds = [part for part in parts if isinstance(part, int | float)]
    limit = Limit(time.monotonic() + sum(seconds) if seconds else None)
    with _limit.set(limit):
        yield limit


class BoundedSession(requests.Session):
    """A session whose requests are all bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = ACCEPTED_ENCODINGS
        for scheme in ("http://", "https://"):
            self.mount(scheme, BoundedAdapter())

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """Make a request within its time-out; the response has the first 64 KiB of the body."""
        with limited(options.get("timeout")):
            return super().request(method, url, *args, **options)


def bound_session(session: object) -> None:
    """Apply the limits to a user's session in the attempts that Wakelog makes.

    Adapters of the user's own classes are not replaced.
    """
    if not isinstance(session, requests.Session):
        return
    for scheme, adapter in list(session.adapters.items()):
        if type(adapter) is HTTPAdapter:
            bounded = BoundedAdapter()
            bounded.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
            session.mount(scheme, bounded)


def has_provider(signal: str) -> bool:
    """Return whether the environment names a session provider for a signal's exporter."""
    names = _PROVIDERS.format(""), _PROVIDERS.format(f"{signal.upper()}_")
    return any(os.environ.get(name) for name in names)


def session_for(signal: str) -> BoundedSession | None:
    """Return a session for an exporter that Wakelog creates, None if the user provides one."""
    return None if has_provider(signal) else BoundedSession()


class BoundedAdapter(HTTPAdapter):
    """Applies the limit of the current thread, if one is set; otherwise a plain ``HTTPAdapter``."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools, whose connections apply the limit."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        """Create the pools for a proxy; pools for SOCKS keep their own classes."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **options)
        if type(manager) is urllib3.ProxyManager:
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        """Send a request, and read its response within the limit."""
        answer = super().send(request, *args, **options)
        if (limit := _limit.get()) is not None:
            answer.raw = io.BytesIO(_read(answer, limit))
        return answer


def _read(answer: requests.Response, limit: Limit) -> bytes:
    """Read a response's body; the connection is reused only if the body was read to its end.

    Raises:
        requests.RequestException: If the body ends early, cannot be decoded or takes too long.
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
    """The raw reader of a socket."""

    def __init__(self, sock: Any) -> None:
        # The file keeps the socket open until the file is closed, as http.client expects.
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
    """A socket whose operations each get the time that is left of the limit."""

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
    """A connection whose sockets apply the limit, including the TLS handshake."""

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
