"""Adding events to a Redis stream."""

from __future__ import annotations

from typing import Any

from wakelog._endpoints import secrets_of, without_secrets
from wakelog.errors import TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._owner import endpoint
from wakelog.gateway.transports._interface import (
    ClientTransport,
    checked_url,
    encoded,
    message_of,
    needed,
)


class RedisStreamTransport(ClientTransport[Any]):
    """Adds each event to a stream, with the fields ``id``, ``session_id`` and ``message`` (JSON).

    Args:
        url: A URL for redis-py: ``redis://host:6379/0``, ``rediss://`` or ``unix://``.
        stream: The stream's name.
        maxlen: The approximate number of entries that the stream keeps; default: all.

    Raises:
        ConfigurationError: If redis is not installed, or the URL is invalid.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        stream: str = "wakelog",
        maxlen: int | None = None,
    ) -> None:
        super().__init__()
        self._redis = needed("redis.asyncio", "redis")
        self._errors = needed("redis.exceptions", "redis").RedisError
        self.url = checked_url(url, "redis", "rediss", "unix")
        self._secrets = secrets_of(url)
        self.stream, self._maxlen = stream, maxlen

    @property
    def destination(self) -> str:
        """The URL without secrets, and the stream."""
        return f"{super().destination} {endpoint(self.url)} {self.stream}"

    async def _connect(self) -> Any:
        return self._redis.Redis.from_url(self.url)

    async def _disconnect(self, client: Any) -> None:
        await client.aclose()

    async def _send(
        self, client: Any, event: ForwardedEvent, metadata: dict[str, Any] | None
    ) -> bool:
        fields = {
            "id": _shown(event.wakelog.id),
            "session_id": _shown(event.wakelog.session_id),
            "message": encoded(message_of(event, metadata)),
        }
        try:
            await client.xadd(self.stream, fields, maxlen=self._maxlen, approximate=True)
        except (self._errors, OSError) as error:
            raise TransportConnectionError(
                f"cannot add to {self.stream}: {without_secrets(str(error), self.url)}"
            ) from error
        return True

    async def _ping(self, client: Any) -> bool:
        return bool(await client.ping())


def _shown(text: str) -> bytes:
    return text.encode(errors="replace")
