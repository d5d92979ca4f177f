"""Events into a Redis stream."""

from __future__ import annotations

from typing import Any

from wakelog.errors import TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
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
        url: As redis-py takes it: ``redis://host:6379/0``, ``rediss://``, ``unix://``.
        stream: The stream's name.
        maxlen: About how many entries the stream keeps; all of them by default.

    Raises:
        ConfigurationError: Without redis, or for an address that is none.
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
        self.stream, self._maxlen = stream, maxlen

    async def _connect(self) -> Any:
        return self._redis.Redis.from_url(self.url)

    async def _disconnect(self, client: Any) -> None:
        await client.aclose()

    async def _send(self, client: Any, event: ForwardedEvent) -> bool:
        fields = {
            "id": _shown(event.id),
            "session_id": _shown(event.session_id),
            "message": encoded(message_of(event)),
        }
        try:
            await client.xadd(self.stream, fields, maxlen=self._maxlen, approximate=True)
        except (self._errors, OSError) as error:
            raise TransportConnectionError(f"cannot add to {self.stream}: {error}") from error
        return True

    async def _ping(self, client: Any) -> bool:
        return bool(await client.ping())


def _shown(text: str) -> bytes:
    return text.encode(errors="replace")
