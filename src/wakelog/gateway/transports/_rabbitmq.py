"""Events to RabbitMQ, over aio-pika."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from wakelog.errors import TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import (
    ClientTransport,
    checked_url,
    encoded,
    message_of,
    needed,
)


class _Open(NamedTuple):
    connection: Any
    exchange: Any


class RabbitMQTransport(ClientTransport[_Open]):
    """Publishes each event as a persistent message, and waits until the broker confirms it.

    A message that no queue takes counts as not sent.

    Args:
        url: As aio-pika takes it.
        routing_key: The routing key; with the default exchange, the queue's name.
        exchange: An exchange that exists; the default exchange by default.
        queue: A durable queue to declare, when it shall be made here.

    Raises:
        ConfigurationError: Without aio-pika, or for an address that is none.
    """

    def __init__(
        self,
        url: str = "amqp://guest:guest@localhost/",
        *,
        routing_key: str = "wakelog",
        exchange: str = "",
        queue: str | None = None,
    ) -> None:
        super().__init__()
        self._aio_pika = needed("aio_pika", "rabbitmq")
        self._errors = needed("aio_pika.exceptions", "rabbitmq")
        self._url = checked_url(url, "amqp", "amqps")
        self._exchange, self._queue = exchange, queue
        self.routing_key = routing_key

    async def _connect(self) -> _Open:
        try:
            connection = await self._aio_pika.connect(self._url)
        except (self._errors.AMQPError, OSError) as error:
            raise TransportConnectionError(f"cannot connect to RabbitMQ: {error}") from error
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            if self._queue is not None:
                await channel.declare_queue(self._queue, durable=True)
            if self._exchange:
                exchange = await channel.get_exchange(self._exchange)
            else:
                exchange = channel.default_exchange
        except BaseException as error:
            await connection.close()
            if isinstance(error, self._errors.AMQPError):
                raise TransportConnectionError(f"cannot use RabbitMQ: {error}") from error
            raise
        return _Open(connection, exchange)

    async def _disconnect(self, client: _Open) -> None:
        await client.connection.close()

    async def _send(self, client: _Open, event: ForwardedEvent) -> bool:
        message = self._aio_pika.Message(
            encoded(message_of(event)),
            message_id=event.id,
            content_type="application/json",
            delivery_mode=self._aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.fromtimestamp(event.timestamp // 1_000_000_000, UTC),
        )
        try:
            await client.exchange.publish(message, self.routing_key, mandatory=True)
        except (self._errors.AMQPError, OSError) as error:
            raise TransportConnectionError(f"RabbitMQ did not take the event: {error}") from error
        return True

    async def _ping(self, client: _Open) -> bool:
        return not client.connection.is_closed
