"""Transports that need no other machine."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from wakelog.errors import ConfigurationError, TransportConnectionError
from wakelog.gateway._calls import BlockingCalls, is_asynchronous
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import TransportInterface, encoded, message_of

Callback = Callable[[ForwardedEvent], Any] | Callable[[ForwardedEvent], Awaitable[Any]]


class CallbackTransport(TransportInterface):
    """Hands each event to a function.

    A coroutine function is awaited in the event loop. Any other is called in a thread of its own,
    one call at a time, so that it may block. It took the event unless it raises or returns False.

    Args:
        callback: The function.

    Raises:
        ConfigurationError: When it cannot be called.
    """

    def __init__(self, callback: Callback) -> None:
        if not callable(callback):
            raise ConfigurationError(f"callback={callback!r} cannot be called: give a function")
        self.callback = callback
        self._closed = False
        self._blocking = BlockingCalls()

    async def send(self, event: ForwardedEvent) -> bool:
        """Call the function."""
        if self._closed:
            raise TransportConnectionError("CallbackTransport has been closed")
        function: Callable[..., Any] = self.callback
        if is_asynchronous(function):
            result = await function(event)
        else:
            result = await self._blocking.call(function, event)
            if inspect.isawaitable(result):
                result = await result
        return result is not False

    async def close(self) -> None:
        """Call the function no more."""
        self._closed = True

    @property
    def is_connected(self) -> bool:
        """Whether the transport has not been closed."""
        return not self._closed


class LoggingTransport(TransportInterface):
    """Writes each event as a line of JSON with ``logging``.

    Args:
        logger: The logger, or its name.
        level: At which level.
    """

    def __init__(
        self, logger: logging.Logger | str = "wakelog.gateway.events", level: int = logging.INFO
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._level = level

    async def send(self, event: ForwardedEvent) -> bool:
        """Log an event."""
        self._logger.log(self._level, "%s", encoded(message_of(event)).decode())
        return True


class NullTransport(TransportInterface):
    """Takes events and forgets them."""

    async def send(self, event: ForwardedEvent) -> bool:
        """Forget an event."""
        del event
        await asyncio.sleep(0)
        return True


class Nowhere(TransportInterface):
    """Takes nothing: what stands in while a logger has no transport any more."""

    async def send(self, event: ForwardedEvent) -> bool:
        """Refuse an event."""
        del event
        raise TransportConnectionError("there is nowhere to forward to")

    @property
    def is_connected(self) -> bool:
        """Say no."""
        return False
