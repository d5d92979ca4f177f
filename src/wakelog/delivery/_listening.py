"""A check whether a next hop accepts connections."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from wakelog.delivery._destination import Address

_CONNECT_SECONDS = 0.5
_PORTS = {"http": 80, "https": 443}


def is_listening(address: Address) -> bool:
    """Return whether an address accepts a connection, by opening one and closing it again.

    Nothing is sent. The check takes at most half a second.
    """
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def address_of(url: str) -> Address | None:
    """Return the host and port of a URL, or None if it has none.

    Args:
        url: A URL, or ``host:port``.
    """
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None
