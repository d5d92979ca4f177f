"""Publishing events to RabbitMQ, with aio-pika."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from wakelog._endpoints import hide_in_log, secrets_of, without_secrets
from wakelog.errors import ConfigurationError, TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._owner import endpoint
from wakelog.gateway.transports._interface import (
    ClientTransport,
    checked_url,
    encoded,
    message_of,
    needed,
)

QUORUM = "quorum"
_TYPES = (QUORUM, "classic", "stream")
# RabbitMQ confirms that it has created a queue before that is on disk: it writes its tables up to
# two seconds later, and before version 4.0 also the name of a quorum queue, one second later. If
# the broker is killed before, the queue is lost with all messages that it has confirmed.
_SETTLING_SECONDS = 3.0


class _OpenChannel(NamedTuple):
    connection: Any
    exchange: Any


class RabbitMQTransport(ClientTransport[_OpenChannel]):
    """Publishes each event as a persistent message, and waits until the broker confirms it.

    A message that is routed to no queue counts as not sent. The type of the queue decides which
    failures a confirmed message survives. A quorum queue confirms what a majority of its nodes has
    synced to disk.

    Args:
        url: A URL for aio-pika.
        routing_key: The routing key; with the default exchange, the queue's name.
        exchange: An existing exchange; default: the default exchange.
        queue: A durable queue to declare; default: none. In the first three seconds after creating
            one, nothing is sent, because the queue would not survive a kill of the broker.
        queue_type: The type of that queue: ``quorum``, ``classic`` or ``stream``. If a queue with
            that name exists with another type, this is an error, and no event is sent to it.

    Raises:
        ConfigurationError: If aio-pika is not installed, or the URL or the type is invalid.
    """

    def __init__(
        self,
        url: str = "amqp://guest:guest@localhost/",
        *,
        routing_key: str = "wakelog",
        exchange: str = "",
        queue: str | None = None,
        queue_type: str = QUORUM,
    ) -> None:
        super().__init__()
        self._aio_pika = needed("aio_pika", "rabbitmq")
        self._errors = needed("aio_pika.exceptions", "rabbitmq")
        self._url = checked_url(url, "amqp", "amqps")
        self._secrets = secrets_of(url)
        # aio-pika logs the URL at the level DEBUG.
        hide_in_log("aiormq.connection", url)
        if queue_type not in _TYPES:
            raise ConfigurationError(
                f"queue_type={queue_type!r} is not a queue type: use one of {', '.join(_TYPES)}"
            )
        self._exchange, self._queue, self._queue_type = exchange, queue, queue_type
        self._settled_at = 0.0
        self.routing_key = routing_key

    @property
    def destination(self) -> str:
        """The URL without secrets, the exchange and the routing key."""
        to = f"{self._exchange}/{self.routing_key}"
        return f"{super().destination} {endpoint(self._url)} {to}"

    async def _connect(self) -> _OpenChannel:
        try:
            connection = await self._aio_pika.connect(self._url)
        except (self._errors.AMQPError, OSError) as error:
            raise TransportConnectionError(
                f"cannot connect to RabbitMQ: {without_secrets(str(error), self._url)}"
            ) from error
        try:
            if self._queue is not None:
                await self._declare(connection, self._queue)
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            if self._exchange:
                exchange = await channel.get_exchange(self._exchange)
            else:
                exchange = channel.default_exchange
        except BaseException as error:
            await connection.close()
            if isinstance(error, self._errors.AMQPError):
                raise TransportConnectionError(
                    f"cannot use RabbitMQ: {without_secrets(str(error), self._url)}"
                ) from error
            raise
        return _OpenChannel(connection, exchange)

    async def _declare(self, connection: Any, name: str) -> None:
        """Create the queue if missing, and wait until a new one survives a kill of the broker."""
        new = await self._is_missing(connection, name)
        channel = await connection.channel()
        try:
            await channel.declare_queue(
                name, durable=True, arguments={"x-queue-type": self._queue_type}
            )
        except self._errors.ChannelPreconditionFailed as error:
            raise TransportConnectionError(
                f"cannot declare the queue {name!r} as a durable queue of the type "
                f"{self._queue_type!r}: {error}. A queue cannot be changed: delete it once it is empty, "
                "name another with queue=, or, if what it promises will do, pass its type as "
                "queue_type= or leave queue= out"
            ) from error
        await channel.close()
        if new:
            self._settled_at = time.monotonic() + _SETTLING_SECONDS
        if (left := self._settled_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _is_missing(self, connection: Any, name: str) -> bool:
        channel = await connection.channel()
        try:
            await channel.declare_queue(name, passive=True)
        except self._errors.ChannelNotFoundEntity:
            return True  # and the broker has closed the channel
        await channel.close()
        return False

    async def _disconnect(self, client: _OpenChannel) -> None:
        await client.connection.close()

    async def _send(
        self, client: _OpenChannel, event: ForwardedEvent, metadata: dict[str, Any] | None
    ) -> bool:
        message = self._aio_pika.Message(
            encoded(message_of(event, metadata)),
            message_id=event.wakelog.id,
            content_type="application/json",
            delivery_mode=self._aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.fromtimestamp(event.wakelog.timestamp // 1_000_000_000, UTC),
        )
        try:
            await client.exchange.publish(message, self.routing_key, mandatory=True)
        except (self._errors.AMQPError, OSError) as error:
            raise TransportConnectionError(
                f"RabbitMQ did not accept the event: {without_secrets(str(error), self._url)}"
            ) from error
        return True

    async def _ping(self, client: _OpenChannel) -> bool:
        return not client.connection.is_closed
