"""Names an endpoint without the secrets in its address.

User, password and query of any address are secret, and so is the path of a webhook. Log messages
and exceptions name addresses only by means of this module.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit


@cache
def _user() -> re.Pattern[str]:
    return re.compile(r"(?<=://)[^\s/?#'\"]*@")


@cache
def _no_port() -> re.Pattern[str]:
    # A text in the place of a port that is not one: the password of an address without its host.
    # Schemes of gRPC, as in unix:path, do not match.
    return re.compile(
        r"(?<!^unix)(?<!^dns)(?<!^vsock)(?<!^ipv[46])(?<!-abstract):[^:/\[\]]*[^:/\[\]\d][^:/\[\]]*$"
    )


_HIDDEN: Final = "…"
_SHORTEST: Final = 3  # a shorter text occurs everywhere


def endpoint_name(address: str, *, path: bool = True) -> str:
    """Return an address without user, password, query and fragment.

    Args:
        address: A URL, or ``host:port``.
        path: Whether to keep its path. The path of a webhook is secret.
    """
    if (bare := address.strip()) != address:
        # A space that makes an address invalid stays visible in its name.
        before, after = address.split(bare, maxsplit=1) if bare else (address, "")
        return f"{before}{endpoint_name(bare, path=path)}{after}" if bare else address
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = None
    if parts is None or not parts.netloc:
        bare = re.split("[?#]", address, maxsplit=1)[0].rpartition("@")[2]
        return _no_port().sub(f":{_HIDDEN}", bare)
    host = _no_port().sub(f":{_HIDDEN}", parts.netloc.rpartition("@")[2])
    rest = address.partition("://")[2]
    if "@" in rest and "@" not in parts.netloc and ":" in host:
        # A password with a slash or a question mark in it looks like a port and a path.
        return f"{parts.scheme}://{_HIDDEN}"
    if not path and parts.path.strip("/"):
        return f"{parts.scheme}://{host}/{_HIDDEN}"
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"//{host}{parts.path}"


def without_secrets(text: str, address: str = "", *, path: bool = True) -> str:
    """Return a text of another library, such as an error message, without the secrets in it.

    Args:
        text: The text. Users and passwords are removed from all URLs.
        address: An address whose other secrets are removed too.
        path: Whether to keep its path.
    """
    if address:
        text = text.replace(address, endpoint_name(address, path=path))
        text = _hidden(text, secrets_of(address, path=path))
    return _user().sub("", text)


def secrets_of(address: str, *, path: bool = True) -> list[str]:
    """Return the secret parts of an address, longest first, both encoded and decoded.

    Args:
        address: A URL, or ``host:port``.
        path: Whether its path is not secret.
    """
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
    except ValueError:
        return []
    user = parts.netloc.rpartition("@")[0]
    found = {user, *user.split(":"), parts.query, parts.fragment}
    found |= {value for _, value in parse_qsl(parts.query)}
    if not path:
        found |= {parts.path, *parts.path.split("/")}
    found |= {unquote(secret) for secret in found}
    return sorted((one for one in found if len(one) >= _SHORTEST), key=len, reverse=True)


def hide_in_error(error: BaseException, secrets: Iterable[str]) -> bool:
    """Remove secrets from an exception and its causes, so that a traceback shows none.

    A cause that cannot be changed is removed from the chain.

    Args:
        error: The exception of a client library, or one that it has caused.
        secrets: The secrets.

    Returns:
        Whether the exception has no secrets now. If not, the caller has to raise another one
        instead.
    """
    return _hide(error, [one for one in secrets if len(one) >= _SHORTEST], set())


def _hide(error: BaseException, secrets: list[str], seen: set[int]) -> bool:
    if id(error) in seen:
        return True
    seen.add(id(error))
    for link in ("__cause__", "__context__"):
        before = getattr(error, link)
        if before is not None and not _hide(before, secrets, seen):
            setattr(error, link, None)
    is_safe = True
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            is_safe &= _hide(one, secrets, seen)
    if _tells(error, secrets):
        error.args = tuple(
            _hidden(one, secrets) if isinstance(one, str) else one for one in error.args
        )
    return is_safe and not _tells(error, secrets)


def _tells(error: BaseException, secrets: list[str]) -> bool:
    said = "\n".join([str(error), repr(error), *getattr(error, "__notes__", ())])
    return any(secret in said for secret in secrets) or _user().search(said) is not None


def _hidden(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _user().sub("", text)


def hide_in_log(name: str, address: str, *, path: bool = True) -> None:
    """Remove the secrets of an address from the messages of another library's logger.

    Args:
        name: The name of the logger.
        address: The address.
        path: Whether to keep its path.
    """
    logger = logging.getLogger(name)
    hiding = next((one for one in logger.filters if isinstance(one, _Hiding)), None)
    if hiding is None:
        hiding = _Hiding()
        logger.addFilter(hiding)
    hiding.addresses[address] = path


class _Hiding(logging.Filter):
    """Removes the secrets of addresses from a logger's records."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: dict[str, bool] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for every record, after removing secrets from it."""
        said = safe = record.getMessage()
        for address, path in list(self.addresses.items()):
            safe = without_secrets(safe, address, path=path)
        if safe != said:
            record.msg, record.args = safe, None
        return True
