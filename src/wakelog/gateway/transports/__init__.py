"""Transports, which send the gateway's events to a destination.

Each transport's client library is imported when the transport is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.gateway.transports._interface import TransportInterface
from wakelog.gateway.transports._local import (
    Callback,
    CallbackTransport,
    LoggingTransport,
    NullTransport,
)

if TYPE_CHECKING:
    from wakelog.gateway.transports._http import HTTPTransport
    from wakelog.gateway.transports._kafka import KafkaTransport
    from wakelog.gateway.transports._otel import OTelTransport
    from wakelog.gateway.transports._rabbitmq import RabbitMQTransport
    from wakelog.gateway.transports._redis import RedisStreamTransport

__all__ = [
    "Callback",
    "CallbackTransport",
    "HTTPTransport",
    "KafkaTransport",
    "LoggingTransport",
    "NullTransport",
    "OTelTransport",
    "RabbitMQTransport",
    "RedisStreamTransport",
    "TransportInterface",
]

__getattr__ = lazy_names(
    __name__,
    {
        f"{__name__}._http": ["HTTPTransport"],
        f"{__name__}._kafka": ["KafkaTransport"],
        f"{__name__}._otel": ["OTelTransport"],
        f"{__name__}._rabbitmq": ["RabbitMQTransport"],
        f"{__name__}._redis": ["RedisStreamTransport"],
    },
)
