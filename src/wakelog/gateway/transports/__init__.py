"""Transports, which send the gateway's events to a destination.

Each transport's client library is imported when the transport is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOMES = {
    "HTTPTransport": "_http",
    "KafkaTransport": "_kafka",
    "OTelTransport": "_otel",
    "RabbitMQTransport": "_rabbitmq",
    "RedisStreamTransport": "_redis",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
