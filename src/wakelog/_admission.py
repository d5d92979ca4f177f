"""Decides which requests a web application accepts, by client address and Host header."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, MutableMapping
from typing import Any, Final

from wakelog.errors import ConfigurationError

ANY_HOST: Final = "*"
_LOOPBACK_NAMES: Final = ("localhost",)
# Headers of proxies. With a proxy, the address of the client is not known to be local.
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")


class Hosts:
    """The host names for which an application answers, as a protection from DNS rebinding.

    In a DNS-rebinding attack, a page of another site resolves its own name to this machine, and
    sends that name as the header Host. Names and addresses of the loopback are always allowed.

    Args:
        allowed: Further names, without a port; ``*.example.com`` means every name below that one,
            and ``*`` any name.

    Raises:
        ConfigurationError: When one of them is not a host name.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        if isinstance(allowed, str):
            raise ConfigurationError(
                f"allowed_hosts={allowed!r:.80} is one text: pass a list, as in [{allowed!r:.80}]"
            )
        given: Collection[object] = allowed
        for name in given:
            if not isinstance(name, str) or not name or "/" in name or _without_port(name) != name:
                raise ConfigurationError(
                    f"allowed_hosts has {name!r:.80}, which is not a host: give the name alone, without a "
                    "scheme or a port, as in 'chat.example.com'"
                )
        self._names = {name.lower() for name in allowed}
        self._ends = tuple(name[1:] for name in self._names if name.startswith("*."))

    def allows(self, scope: MutableMapping[str, Any]) -> bool:
        """Return whether a request has exactly one header Host, with an allowed name."""
        if ANY_HOST in self._names:
            return True
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1:
            return False
        host = _without_port(named[0].decode("latin-1").lower())
        return _is_loopback_name(host) or host in self._names or host.endswith(self._ends)


def is_local(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a request comes from this machine over the loopback, without a proxy."""
    ends = (scope.get("client"), scope.get("server"))
    return all(end and _is_loopback(end[0]) for end in ends) and not any(
        name in _FORWARDED for name, _ in scope["headers"]
    )


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _is_loopback_name(host: str) -> bool:
    return host in _LOOPBACK_NAMES or _is_loopback(host.removeprefix("[").removesuffix("]"))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and (":" not in name or name.endswith("]")) else host
