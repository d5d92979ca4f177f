"""Events to a Kafka topic, over aiokafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wakelog.errors import SerializationError, TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import ClientTransport, encoded, message_of, needed


class KafkaTransport(ClientTransport[Any]):
    """Sends each event to a topic, keyed by its session, so that a session's order is kept.

    All in-sync replicas have to acknowledge it, and the producer is idempotent.

    Args:
        bootstrap_servers: One address or several.
        topic: The topic.
        options: For ``aiokafka.AIOKafkaProducer``, such as ``security_protocol``.

    Raises:
        ConfigurationError: Without aiokafka.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] = "localhost:9092",
        *,
        topic: str = "wakelog",
        **options: Any,
    ) -> None:
        super().__init__()
        self._aiokafka = needed("aiokafka", "kafka")
        self._errors = needed("aiokafka.errors", "kafka")
        self.topic = topic
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
            **options,
        }

    def message(self, event: ForwardedEvent) -> dict[str, Any]:
        """Return what is sent for an event: ``key``, ``value``, ``headers`` and ``timestamp_ms``."""
        return {
            "key": event.session_id.encode(errors="replace"),
            "value": encoded(message_of(event)),
            "headers": [("id", event.id.encode(errors="replace"))],
            "timestamp_ms": event.timestamp // 1_000_000,
        }

    async def _connect(self) -> Any:
        producer = self._aiokafka.AIOKafkaProducer(**self._options)
        try:
            await producer.start()
        except self._errors.KafkaError as error:
            await producer.stop()
            raise TransportConnectionError(f"cannot connect to Kafka: {error}") from error
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _disconnect(self, client: Any) -> None:
        await client.stop()

    async def _send(self, client: Any, event: ForwardedEvent) -> bool:
        try:
            await client.send_and_wait(self.topic, **self.message(event))
        except self._errors.MessageSizeTooLargeError as error:
            raise SerializationError(f"Kafka does not take the event: {error}") from error
        except self._errors.KafkaError as error:
            raise TransportConnectionError(f"cannot send to {self.topic}: {error}") from error
        return True

    async def _ping(self, client: Any) -> bool:
        return bool(await client.partitions_for(self.topic))
