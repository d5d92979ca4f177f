"""The interface of a transport, and the base class of transports with a client."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any, Generic, TypeVar

import orjson

from wakelog._endpoints import hide_in_error
from wakelog.errors import ConfigurationError, SerializationError, TransportConnectionError
from wakelog.gateway._events import ForwardedEvent, as_forwarded
from wakelog.record import rfc3339, to_line

Client = TypeVar("Client")


class TransportInterface(abc.ABC):
    """Sends events to a destination.

    An event that ``send`` did not accept is kept and sent again, so it may arrive twice, with the
    same ``event.wakelog.id``.

    Attributes:
        works_in_any_loop: Whether ``send`` may be called in another event loop than before, as
            happens at the exit of a program that did not close its gateway. True for a transport
            that connects by itself in the running loop.
    """

    works_in_any_loop: bool = False

    @abc.abstractmethod
    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Send one event.

        Args:
            event: From a gateway, a ``ForwardedEvent``, which is a dict with its keys as
                attributes. Wakelog's own transports accept any event from other callers.
            metadata: More to send with it; None from a gateway.

        Returns:
            Whether the event was accepted.

        Raises:
            SerializationError: If this event can never be sent; it is then set aside. After any
                other exception it is sent again.
        """

    async def close(self) -> None:  # noqa: B027 - there may be nothing to close
        """Release the transport's resources."""

    async def health_check(self) -> bool:
        """Tell whether the destination is healthy. It is called while sending fails."""
        return self.is_connected

    @property
    def is_connected(self) -> bool:
        """Whether the transport can be used, as far as known without I/O."""
        return True

    @property
    def destination(self) -> str:
        """The name of the destination without secrets, which is the default name of the pipeline.

        What a program leaves is forwarded by a later one with the same pipeline.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"


class ClosableTransport(TransportInterface):
    """A transport without a connection, which can be used until it is closed."""

    def __init__(self) -> None:
        self._connected = True

    async def close(self) -> None:
        """Make the transport neither connected nor healthy."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the transport is not closed."""
        return self._connected


class ClientTransport(TransportInterface, Generic[Client]):
    """A transport with a client, which is created when needed, and again after a failure."""

    works_in_any_loop = True

    def __init__(self) -> None:
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        # Texts that must not be in an exception of the client, nor in its causes.
        self._secrets: list[str] = []

    @property
    def is_connected(self) -> bool:
        """Whether there is a client whose last call succeeded."""
        return self._client is not None

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Send one event; see ``TransportInterface``."""
        forwarded = as_forwarded(event)
        return await self._use(lambda client: self._send(client, forwarded, metadata))

    async def health_check(self) -> bool:
        """Tell whether the server responds."""
        return await self._use(self._ping)

    async def _use(self, call: Callable[[Client], Awaitable[bool]]) -> bool:
        """Call with the client, which is dropped if the call fails."""
        with self._hiding():
            client = await self._connected()
            try:
                return await call(client)
            except SerializationError:
                raise
            except BaseException:
                await self._drop(client)
                raise

    async def close(self) -> None:
        """Close the client. Nothing can be sent afterwards."""
        self._closed = True
        if (client := self._client) is not None:
            self._client = None
            await self._disconnect(client)

    @contextlib.contextmanager
    def _hiding(self) -> Iterator[None]:
        """Replace an exception that has a secret in its text or in those of its causes."""
        try:
            yield
        except Exception as error:
            if hide_in_error(error, self._secrets):
                raise
            told = f"{type(error).__name__}, whose text is not shown because it contains a secret"
        else:
            return
        name = type(self).__name__
        raise TransportConnectionError(f"the client of {name} failed: {told}") from None

    @abc.abstractmethod
    async def _connect(self) -> Client: ...

    @abc.abstractmethod
    async def _disconnect(self, client: Client) -> None: ...

    @abc.abstractmethod
    async def _send(
        self, client: Client, event: ForwardedEvent, metadata: dict[str, Any] | None
    ) -> bool: ...

    @abc.abstractmethod
    async def _ping(self, client: Client) -> bool: ...

    async def _connected(self) -> Client:
        if self._closed:
            raise TransportConnectionError(f"{type(self).__name__} has been closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A client belongs to the event loop in which it was created.
            self._loop, self._client, self._connecting = loop, None, asyncio.Lock()
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _drop(self, client: Client) -> None:
        if self._client is client:
            self._client = None
            try:
                async with asyncio.timeout(1.0):
                    await self._disconnect(client)
            except Exception:  # noqa: BLE001, S110 - the first failure is reported
                pass


def needed(module: str, extra: str) -> ModuleType:
    """Import a client library.

    Raises:
        ConfigurationError: If it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed, which this transport needs: "
            f"pip install 'wakelog[{extra}]'"
        ) from error


def checked_url(url: str, *schemes: str) -> str:
    """Return a URL unchanged if it has an allowed scheme.

    Raises:
        ConfigurationError: If not. The message does not repeat the URL, which may contain a
            password.
    """
    beginnings = [f"{scheme}://" for scheme in schemes]
    if not str(url).lower().startswith(tuple(beginnings)):
        allowed = " or ".join(beginnings)
        raise ConfigurationError(f"url is not usable: it has to begin with {allowed}")
    return url


def message_of(event: ForwardedEvent, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the message about an event: its identity, its values, and ``metadata`` if given."""
    origin = event.wakelog
    message: dict[str, Any] = {
        "id": origin.id,
        "session_id": origin.session_id,
        "timestamp": rfc3339(origin.timestamp),
    }
    if origin.event_name is not None:
        message["event_name"] = origin.event_name
    message["event"] = dict(event)
    if metadata:
        message["metadata"] = dict(metadata)
    return message


def encoded(value: object) -> bytes:
    """Return a value as compact JSON.

    Raises:
        SerializationError: If it cannot be encoded.
    """
    try:
        return orjson.dumps(to_line(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the event cannot be written as JSON: {error}") from error
