"""Events to a webhook, over httpx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wakelog.errors import SerializationError, TransportConnectionError, TransportError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import (
    ClientTransport,
    checked_url,
    encoded,
    message_of,
    needed,
)

if TYPE_CHECKING:
    import httpx

# What is wrong with the request itself stays wrong.
_REFUSED = frozenset({400, 413, 422})
_SUCCESSES = range(200, 300)


class HTTPTransport(ClientTransport["httpx.AsyncClient"]):
    """Posts each event to an address as one JSON line (``application/x-ndjson``).

    Only an answer of 2xx means that the event was taken; a redirect does not. After 400, 413 and
    422 the event is set aside, after anything else it is sent again. The header
    ``Idempotency-Key`` is the event's id.

    Args:
        url: Where to post.
        headers: Headers for every request.
        timeout: For one request, in seconds.
        health_url: What answers a GET with anything below 500 when the other side is well; without
            one, an attempt to send is what tells.

    Raises:
        ConfigurationError: Without httpx, or for an address that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        health_url: str | None = None,
    ) -> None:
        super().__init__()
        self._httpx = needed("httpx", "http")
        self.url = checked_url(url, "http", "https")
        self._headers = {"content-type": "application/x-ndjson", **(headers or {})}
        self._timeout = timeout
        self._health_url = health_url

    async def _connect(self) -> httpx.AsyncClient:
        client: httpx.AsyncClient = self._httpx.AsyncClient(
            headers=self._headers, timeout=self._timeout, follow_redirects=False
        )
        return client

    async def _disconnect(self, client: httpx.AsyncClient) -> None:
        await client.aclose()

    async def _send(self, client: httpx.AsyncClient, event: ForwardedEvent) -> bool:
        line = encoded(message_of(event)) + b"\n"
        try:
            answer = await client.post(
                self.url, content=line, headers={"idempotency-key": _ascii(event.id)}
            )
        except self._httpx.HTTPError as error:
            raise TransportConnectionError(
                f"cannot post to {self.url}: {type(error).__name__}: {error}"
            ) from error
        if answer.status_code in _SUCCESSES:
            return True
        told = f"{self.url} answered {answer.status_code}: {answer.text[:200]}"
        if answer.status_code in _REFUSED:
            raise SerializationError(told)
        raise TransportError(told)

    async def _ping(self, client: httpx.AsyncClient) -> bool:
        if self._health_url is None:
            return True
        answer = await client.get(self._health_url)
        return answer.status_code < 500  # noqa: PLR2004 - it is there


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")
