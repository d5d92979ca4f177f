"""Sending events to a Kafka topic, with aiokafka."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Sequence
from typing import Any

from wakelog._endpoints import endpoint_name
from wakelog.errors import ConfigurationError, SerializationError, TransportConnectionError
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import ClientTransport, encoded, message_of, needed

# Together shorter than the default time-out of an attempt, so that the error says which of them
# passed.
_CONNECT_SECONDS, _TOPIC_SECONDS = 5.0, 2.0
# A host name, an IPv4 address, or an IPv6 address with or without brackets.
_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::\d{1,5})?|(?=(?:[^:]*:){2})[0-9A-Fa-f:]+")


class KafkaTransport(ClientTransport[Any]):
    """Sends each event to a topic, keyed by its session, so that a session's order is kept.

    All in-sync replicas have to acknowledge it, and the producer is idempotent. The topic has to
    exist, unless the broker creates topics automatically.

    Args:
        bootstrap_servers: One or more addresses, each as ``host:port``. User and password are
            options.
        topic: The topic.
        options: For ``aiokafka.AIOKafkaProducer``, such as ``security_protocol``.

    Raises:
        ConfigurationError: If aiokafka is not installed, an address is not ``host:port``, or
            aiokafka does not have an option.
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
        _check_servers(bootstrap_servers)
        passwords = [options.get(name) for name in ("sasl_plain_password", "sasl_plain_username")]
        self._secrets = [one for one in passwords if isinstance(one, str)]
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "acks": "all",
            "enable_idempotence": True,
            "request_timeout_ms": 10_000,
            **options,
        }
        known = inspect.signature(self._aiokafka.AIOKafkaProducer).parameters
        if unknown := [name for name in options if name not in known]:
            raise ConfigurationError(f"aiokafka's producer has no option {', '.join(unknown)}")
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def destination(self) -> str:
        """The brokers and the topic."""
        servers = self._options["bootstrap_servers"]
        told = servers if isinstance(servers, str) else ",".join(map(str, servers))
        return f"{super().destination} {told} {self.topic}"

    def message(
        self, event: ForwardedEvent, metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the message for an event: ``key``, ``value``, ``headers`` and ``timestamp_ms``."""
        return {
            "key": event.wakelog.session_id.encode(errors="replace"),
            "value": encoded(message_of(event, metadata)),
            "headers": [("id", event.wakelog.id.encode(errors="replace"))],
            "timestamp_ms": event.wakelog.timestamp // 1_000_000,
        }

    async def _connect(self) -> Any:
        servers = self._options["bootstrap_servers"]
        try:
            producer = self._aiokafka.AIOKafkaProducer(**self._options)
        except (TypeError, ValueError) as error:
            message = f"cannot make a producer for Kafka at {servers!r}: {error}"
            raise TransportConnectionError(message) from error
        starting = asyncio.ensure_future(producer.start())
        seconds = _CONNECT_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(starting)
            seconds = _TOPIC_SECONDS
            async with asyncio.timeout(seconds):
                await producer.partitions_for(self.topic)
        except BaseException as error:
            ending = self._end(producer, starting)
            if not isinstance(error, TimeoutError | asyncio.CancelledError):
                await asyncio.shield(ending)
            if isinstance(error, TimeoutError | self._errors.KafkaError | ValueError):
                told = str(error) or f"it did not answer within {seconds:g} s"
                if seconds == _TOPIC_SECONDS:
                    told = f"there is no topic {self.topic!r} for this client: make the topic"
                message = f"cannot use Kafka at {servers!r}: {told}"
                raise TransportConnectionError(message) from error
            raise
        return producer

    async def _disconnect(self, client: Any) -> None:
        await asyncio.shield(self._end(client))

    def _end(
        self, producer: Any, starting: asyncio.Future[None] | None = None
    ) -> asyncio.Task[None]:
        """Stop a producer without a time-out: cancelling this would leave its connections open."""

        async def end() -> None:
            if starting is not None:
                await asyncio.wait({starting})
                starting.exception()
            await producer.stop()

        task = asyncio.create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it

    async def close(self) -> None:
        """Close the client, and wait for earlier ones that are still stopping."""
        await super().close()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _send(
        self, client: Any, event: ForwardedEvent, metadata: dict[str, Any] | None
    ) -> bool:
        try:
            await client.send_and_wait(self.topic, **self.message(event, metadata))
        except self._errors.MessageSizeTooLargeError as error:
            raise SerializationError(f"Kafka does not accept the event: {error}") from error
        except self._errors.KafkaError as error:
            raise TransportConnectionError(f"cannot send to {self.topic}: {error}") from error
        return True

    async def _ping(self, client: Any) -> bool:
        return bool(await client.partitions_for(self.topic))


def _check_servers(servers: str | Sequence[str]) -> None:
    """Reject an address other than ``host:port``: aiokafka would log a password in it."""
    for server in servers.split(",") if isinstance(servers, str) else servers:
        if _SERVER.fullmatch(str(server).strip()) is None:
            raise ConfigurationError(
                f"bootstrap_servers has {endpoint_name(str(server), path=False)!r:.80}, which is not "
                "host:port: give user and password as sasl_plain_username and sasl_plain_password"
            )
