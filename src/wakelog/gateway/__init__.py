"""The gateway: one awaitable for every event, with local files that do not depend on the transport.

    import asyncio

    from wakelog.gateway import EventSessionLogger

    async def main():
        async with EventSessionLogger("logs", downstream_callback=print) as logger:
            await logger({"session_id": "s-1", "event_type": "user_message", "message": "hello"})

    asyncio.run(main())

Without ``async with``, ``await logger.close()`` ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.delivery import CircuitState
from wakelog.errors import (
    EventSessionLoggerError,
    LocalLoggingError,
    SerializationError,
    TransportConnectionError,
    TransportError,
    TransportTimeoutError,
)
from wakelog.gateway import transports as _transports
from wakelog.gateway._dead_letters import dead_letter_folders
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._factories import (
    create_backward_compatible,
    create_from_environment,
    create_logging_only,
    create_session_logger,
    create_with_callback,
    create_with_transport,
    migrate_from_session_logger,
)
from wakelog.gateway._logger import EventSessionLogger
from wakelog.gateway._stats import GatewayStats
from wakelog.gateway.transports import (
    CallbackTransport,
    LoggingTransport,
    NullTransport,
    TransportInterface,
)

if TYPE_CHECKING:
    from wakelog.gateway.transports import (
        HTTPTransport,
        KafkaTransport,
        OTelTransport,
        RabbitMQTransport,
        RedisStreamTransport,
    )

__all__ = [
    "CallbackTransport",
    "CircuitState",
    "EventSessionLogger",
    "EventSessionLoggerError",
    "ForwardedEvent",
    "GatewayStats",
    "HTTPTransport",
    "KafkaTransport",
    "LocalLoggingError",
    "LoggingTransport",
    "NullTransport",
    "OTelTransport",
    "RabbitMQTransport",
    "RedisStreamTransport",
    "SerializationError",
    "TransportConnectionError",
    "TransportError",
    "TransportInterface",
    "TransportTimeoutError",
    "create_backward_compatible",
    "create_from_environment",
    "create_logging_only",
    "create_session_logger",
    "create_with_callback",
    "create_with_transport",
    "dead_letter_folders",
    "migrate_from_session_logger",
]


# The transports that load the client library of their destination.
__getattr__ = lazy_names(__name__, {_transports.__name__: _transports.__all__})
