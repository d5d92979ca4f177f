"""Whether a next hop that has refused connections takes them again."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

Address = tuple[str, int]
"""Host and TCP port."""

_CONNECT_SECONDS = 0.5
_PORTS = {"http": 80, "https": 443}


def is_listening(address: Address) -> bool:
    """Return whether a connection is accepted, by opening one and closing it again.

    Nothing is sent. It takes half a second at most.
    """
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def address_of(url: str) -> Address | None:
    """Return the host and port that a URL names, None where it names none.

    Args:
        url: A URL, or ``host:port``.
    """
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None
