"""Sending events to a webhook, with httpx."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wakelog._bodies import ACCEPTED_ENCODINGS, Body
from wakelog._endpoints import endpoint_name, hide_in_log, secrets_of, without_secrets
from wakelog.errors import SerializationError, TransportConnectionError, TransportError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._owner import digest
from wakelog.gateway.transports._interface import (
    ClientTransport,
    checked_url,
    encoded,
    message_of,
    needed,
)

if TYPE_CHECKING:
    import httpx

# Statuses for a request that will never be accepted.
_REFUSED = frozenset({400, 413, 422})
_SUCCESSES = range(200, 300)
_PIECE = 2048


class HTTPTransport(ClientTransport["httpx.AsyncClient"]):
    """Posts each event to a URL as one JSON line (``application/x-ndjson``).

    Only a 2xx response means that the event was accepted; a redirect does not. After 400, 413 and
    422 the event is set aside, after anything else it is sent again. The header ``Idempotency-Key``
    is the event's id.

    Args:
        url: The URL.
        headers: Headers for every request.
        timeout: The time-out for one request with its whole response, in seconds.
        health_url: A URL that responds to GET with a status below 500 while the destination is
            healthy; without one, an attempt to send shows it.

    Raises:
        ConfigurationError: If httpx is not installed, or the URL is invalid.
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
        self._secrets = secrets_of(url, path=False)
        self._name = endpoint_name(url, path=False)
        # httpx logs the URL at the level INFO.
        for address in (url, health_url):
            if address:
                hide_in_log("httpx", address, path=False)
        self._headers = {"content-type": "application/x-ndjson", **(headers or {})}
        self._timeout = timeout
        self._health_url = health_url
        self._secrets += secrets_of(health_url or "", path=False)

    @property
    def destination(self) -> str:
        """The URL, and a digest of its secret parts and of the headers."""
        return f"{super().destination} {self._name} {digest(self.url, self._headers)}"

    async def _connect(self) -> httpx.AsyncClient:
        client: httpx.AsyncClient = self._httpx.AsyncClient(
            headers={"accept-encoding": ACCEPTED_ENCODINGS, **self._headers},
            timeout=self._timeout,
            follow_redirects=False,
        )
        return client

    async def _disconnect(self, client: httpx.AsyncClient) -> None:
        await client.aclose()

    async def _ask(
        self, client: httpx.AsyncClient, method: str, url: str, **options: Any
    ) -> tuple[int, str]:
        """Return a response's status and the beginning of its text, within the time-out.

        Raises:
            httpx.HTTPError: If there was no response.
            TimeoutError: If it took too long.
        """
        async with asyncio.timeout(self._timeout), client.stream(method, url, **options) as answer:
            body = Body(answer.headers.get("content-encoding", ""))
            try:
                async for piece in answer.aiter_raw(_PIECE):
                    if not body.add(piece):
                        break
            except zlib.error as error:
                message = "the answer cannot be decompressed"
                raise self._httpx.DecodingError(message) from error
            return answer.status_code, bytes(body).decode(errors="replace")

    async def _send(
        self, client: httpx.AsyncClient, event: ForwardedEvent, metadata: dict[str, Any] | None
    ) -> bool:
        line = encoded(message_of(event, metadata)) + b"\n"
        try:
            status, text = await self._ask(
                client,
                "POST",
                self.url,
                content=line,
                headers={"idempotency-key": _ascii(event.wakelog.id)},
            )
        except TimeoutError as error:
            told = f"no answer within {self._timeout:g} s"
            raise TransportConnectionError(f"cannot post to {self._name}: {told}") from error
        except self._httpx.HTTPError as error:
            told = without_secrets(f"{type(error).__name__}: {error}", self.url, path=False)
            raise TransportConnectionError(f"cannot post to {self._name}: {told}") from error
        if status in _SUCCESSES:
            return True
        told = without_secrets(text, self.url, path=False)[:200]
        told = f"{self._name} answered {status}: {told}"
        if status in _REFUSED:
            raise SerializationError(told)
        raise TransportError(told)

    async def _ping(self, client: httpx.AsyncClient) -> bool:
        if self._health_url is None:
            return True
        status, _ = await self._ask(client, "GET", self._health_url)
        return status < 500  # noqa: PLR2004 - the server responds


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")
