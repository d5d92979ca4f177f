"""Access control: the host, the token, and for requests that write, the page's own origin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import urlsplit

from wakelog._admission import Hosts
from wakelog.page._static import POLICY

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)
_API: Final = "/api/"
_SCHEME: Final = b"bearer "
_READS: Final = frozenset({"GET", "HEAD"})


class Gate:
    """Wraps an application, and rejects requests without permission.

    The page and its scripts have no data and are public. Paths below ``/api/`` need the token in
    the header ``Authorization``, which no other site can set; a request other than GET must also
    come from the page's own origin.

    Args:
        app: The application.
        token: The token.
        allowed_hosts: Names of the page besides those of the loopback interface.
    """

    def __init__(self, app: App, token: str, allowed_hosts: Collection[str] = ()) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = Hosts(allowed_hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send_with_headers, *refusal)
            return
        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        if not self._hosts.allows(scope):
            return 421, "this host is not served: name it with --host"
        writes = scope["method"] not in _READS
        if not scope["path"].startswith(_API):
            return (405, "this address is for GET") if writes else None
        if not self._has_token(scope):
            return 401, "this needs the token: open the address that `wakelog view` has printed"
        if writes and not _is_own_origin(scope):
            return 403, "this comes from another page"
        return None

    def _has_token(self, scope: Message) -> bool:
        given = _values(scope, b"authorization")
        if len(given) != 1 or given[0][: len(_SCHEME)].lower() != _SCHEME:
            return False
        return compare_digest(given[0][len(_SCHEME) :].strip(), self._token)


def _is_own_origin(scope: Message) -> bool:
    """Tell whether a request comes from a page of the host to which it is sent."""
    origins, hosts = _values(scope, b"origin"), _values(scope, b"host")
    if len(origins) != 1 or len(hosts) != 1:
        return False
    sites = _values(scope, b"sec-fetch-site")
    if any(site != b"same-origin" for site in sites):
        return False
    origin = urlsplit(origins[0].decode("latin-1").lower())
    return origin.scheme in ("http", "https") and origin.netloc.encode() == hosts[0].lower()


def _values(scope: Message, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
