"""Transports within the process."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from wakelog.errors import ConfigurationError, TransportConnectionError
from wakelog.gateway._blocking_calls import BlockingCalls, is_asynchronous
from wakelog.gateway._events import ForwardedEvent, as_forwarded
from wakelog.gateway._owner import name_of
from wakelog.gateway.transports._interface import ClosableTransport, encoded, message_of

Callback = Callable[[ForwardedEvent], Any] | Callable[[ForwardedEvent], Awaitable[Any]]

_log = logging.getLogger("wakelog")


class CallbackTransport(ClosableTransport):
    """Passes each event to a function.

    A coroutine function is awaited in the event loop. Another function is called in a thread of its
    own, one call at a time, so it may block. It accepts the event unless it raises or returns
    False.

    Args:
        callback: The function.

    Raises:
        ConfigurationError: If it is not callable.
    """

    def __init__(self, callback: Callback) -> None:
        if not callable(callback):
            raise ConfigurationError(f"callback={callback!r} cannot be called: give a function")
        super().__init__()
        self.callback = callback
        self.works_in_any_loop = not is_asynchronous(callback)
        self._blocking = BlockingCalls()

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Call the function with the unchanged event.

        Returns:
            Whether it accepted the event. False if it raised, which is logged; a gateway's error
            handler gets the exception itself.
        """
        del metadata
        try:
            return await self.handed_over(event)
        except Exception as error:  # noqa: BLE001 - send() reports a failure by its result
            _log.warning("a callback did not accept an event: %s: %s", type(error).__name__, error)
            return False

    async def handed_over(self, event: Any) -> bool:
        """Call the function and return whether it accepted the event.

        Raises:
            TransportConnectionError: After ``close``.
            Exception: Whatever the function raised.
        """
        if not self._connected:
            raise TransportConnectionError("CallbackTransport has been closed")
        function: Callable[..., Any] = self.callback
        if is_asynchronous(function):
            result = await function(event)
        else:
            result = await self._blocking.call(function, event)
            if inspect.isawaitable(result):
                result = await result
        return result is not False

    @property
    def destination(self) -> str:
        """The function's module and name."""
        return name_of(self.callback)


class LoggingTransport(ClosableTransport):
    """Writes each event as a line of JSON with ``logging``.

    Args:
        logger_name: The logger's name, or a logger.
        level: The level of the log messages.
    """

    works_in_any_loop = True

    def __init__(
        self, logger_name: str | logging.Logger = "event_transport", level: int = logging.INFO
    ) -> None:
        super().__init__()
        if isinstance(logger_name, str):
            logger_name = logging.getLogger(logger_name)
        self.logger = logger_name
        self._level = level

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Log an event."""
        message = message_of(as_forwarded(event), metadata)
        self.logger.log(self._level, "%s", encoded(message).decode())
        return True


class NullTransport(ClosableTransport):
    """Discards events."""

    works_in_any_loop = True

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Discard an event."""
        del event, metadata
        await asyncio.sleep(0)
        return True
