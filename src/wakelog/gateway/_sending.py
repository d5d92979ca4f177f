"""One attempt to send one event, and everything that may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How events are forwarded.

    Attributes:
        max_retries: How often an event is tried again before the transport is taken for down.
        retry_delay: The longest wait before the first of these, in seconds; later ones double.
        send_timeout: The longest that one attempt may take, in seconds.
        concurrency: How many sessions are forwarded at the same time.
        max_probes: How many attempts may fail beyond these before an event is taken for one that is
            never taken; None to try it for ever.
        exit_seconds: How long what is left may be forwarded when the program ends without close.
    """

    max_retries: int
    retry_delay: float
    send_timeout: float
    concurrency: int
    max_probes: int | None
    exit_seconds: float


async def attempt(
    transport: TransportInterface, event: ForwardedEvent, seconds: float, blocking: BlockingCalls
) -> Exception | None:
    """Try to send an event.

    Args:
        transport: Where to.
        event: The event.
        seconds: The longest that it may take.
        blocking: The thread for a transport that knows no asyncio.

    Returns:
        Why it did not get there, None when it did.
    """
    name, send = _named_send(transport)
    try:
        taken = await call(send, event, seconds=seconds, blocking=blocking)
    except TimeoutError:
        return TransportTimeoutError(f"{name} did not take an event within {seconds} s")
    except EventSessionLoggerError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a transport may raise anything; the event is kept and the failure told
        told = TransportError(f"{name} failed: {type(error).__name__}: {error}")
        told.__cause__ = error
        return told
    if taken is None or taken:
        return None
    return TransportError(f"{name} returned {taken!r}")


def _named_send(transport: TransportInterface) -> tuple[str, Callable[[ForwardedEvent], Any]]:
    if isinstance(transport, CallbackTransport) and type(transport).send is CallbackTransport.send:
        return "the callback", transport.handed_over  # which tells what the callback raised
    return f"{type(transport).__name__}.send()", transport.send


async def is_healthy(transport: TransportInterface, blocking: BlockingCalls) -> bool:
    """Ask a transport whether it is worth sending; who raises or does not answer says no."""
    check = getattr(transport, "health_check", None)
    if check is None:
        return True
    try:
        return bool(await call(check, seconds=_HEALTH_SECONDS, blocking=blocking))
    except Exception:  # noqa: BLE001 - whatever a check raises, the answer is no
        return False


def as_transport(transport: object) -> TransportInterface:
    """Return a transport of the caller's, whatever its class, or say why it is none.

    Raises:
        ConfigurationError: When it has no ``send``.
    """
    if isinstance(transport, type):
        raise ConfigurationError(
            f"downstream_transport is the class {transport.__name__}: give an object of it"
        )
    if isinstance(transport, TransportInterface):
        return transport
    if callable(getattr(transport, "send", None)):
        return transport  # type: ignore[return-value]  # whoever has send is one
    raise ConfigurationError(
        f"downstream_transport={transport!r} has no send(event): give a TransportInterface"
    )
