"""One attempt to send one event, and its possible results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wakelog.errors import (
    ConfigurationError,
    EventSessionLoggerError,
    TransportError,
    TransportTimeoutError,
)
from wakelog.gateway._blocking_calls import BlockingCalls, call
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports import CallbackTransport, TransportInterface

_HEALTH_SECONDS = 5.0

ErrorHandler = Callable[[Exception, str], object]


async def attempt(
    transport: TransportInterface, event: ForwardedEvent, seconds: float, blocking: BlockingCalls
) -> Exception | None:
    """Try to send an event.

    Args:
        transport: The transport.
        event: The event.
        seconds: The time-out.
        blocking: The thread for a transport without asyncio.

    Returns:
        Why the event was not accepted, or None if it was.
    """
    name, send = _named_send(transport)
    try:
        taken = await call(send, event, seconds=seconds, blocking=blocking)
    except TimeoutError:
        return TransportTimeoutError(f"{name} did not accept an event within {seconds} s")
    except EventSessionLoggerError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a transport may raise anything
        told = TransportError(f"{name} failed: {type(error).__name__}: {error}")
        told.__cause__ = error
        return told
    if taken is None or taken:
        return None
    return TransportError(f"{name} returned {taken!r}")


def _named_send(transport: TransportInterface) -> tuple[str, Callable[[ForwardedEvent], Any]]:
    if isinstance(transport, CallbackTransport) and type(transport).send is CallbackTransport.send:
        return "the callback", transport.handed_over  # raises what the callback raises
    return f"{type(transport).__name__}.send()", transport.send


async def is_healthy(transport: TransportInterface, blocking: BlockingCalls) -> bool:
    """Return the result of a transport's health check, or False if it raises or times out."""
    check = getattr(transport, "health_check", None)
    if check is None:
        return True
    try:
        return bool(await call(check, seconds=_HEALTH_SECONDS, blocking=blocking))
    except Exception:  # noqa: BLE001 - any exception means unhealthy
        return False


def as_transport(transport: object) -> TransportInterface:
    """Return a caller's transport, which may be of any class with a ``send`` method.

    Raises:
        ConfigurationError: If it has none.
    """
    if isinstance(transport, type):
        raise ConfigurationError(
            f"downstream_transport is the class {transport.__name__}: give an object of it"
        )
    if isinstance(transport, TransportInterface):
        return transport
    if callable(getattr(transport, "send", None)):
        return transport  # type: ignore[return-value]  # its send() is all that is needed
    raise ConfigurationError(
        f"downstream_transport={transport!r} has no send(event): give a TransportInterface"
    )
