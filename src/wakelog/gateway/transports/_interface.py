"""What a transport is, and what those over a client have in common."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import importlib
from collections.abc import Iterator
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

    What ``send`` has not taken is kept and sent again, so an event may come twice;
    ``event.wakelog.id`` is the same both times.

    Attributes:
        works_in_any_loop: Whether ``send`` may be called in another event loop than before, as is done
            at the end of a program that did not close its gateway. True for a transport that
            connects by itself in the loop that is running.
    """

    works_in_any_loop: bool = False

    @abc.abstractmethod
    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Take one event to its place.

        Args:
            event: A ``ForwardedEvent`` when a gateway sends it, which is a dict with its keys as
                attributes. The transports of Wakelog take any event from other callers.
            metadata: What else shall be sent beside it. A gateway gives none.

        Returns:
            Whether it got there.

        Raises:
            SerializationError: When this event cannot be sent, however often it is tried. It is
                set aside then. Any other exception means that it will be tried again.
        """

    async def close(self) -> None:  # noqa: B027 - there may be nothing to close
        """Give up what the transport holds."""

    async def health_check(self) -> bool:
        """Tell whether it is worth sending an event. Asked while sending fails."""
        return self.is_connected

    @property
    def is_connected(self) -> bool:
        """Whether the transport can be used, as far as is known without asking."""
        return True

    @property
    def destination(self) -> str:
        """Where it leads to, without secrets: the name of the pipeline unless one is given.

        What a program leaves is forwarded by a later one with the same name.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"


class ClosableTransport(TransportInterface):
    """A transport with nothing to connect to: it can be used until it is closed."""

    def __init__(self) -> None:
        self._connected = True

    async def close(self) -> None:
        """Be neither connected nor healthy from now on."""
        self._connected = False

    @property
    def is_connected(self) -> bool:
        """Whether the transport has not been closed."""
        return self._connected


class ClientTransport(TransportInterface, Generic[Client]):
    """A transport over a client that is made when it is first needed, and anew after a failure."""

    works_in_any_loop = True

    def __init__(self) -> None:
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()
        self._closed = False
        # What no exception of the client may show, nor one that is raised because of it.
        self._secrets: list[str] = []

    @property
    def is_connected(self) -> bool:
        """Whether there is a client, and the last thing that it did went well."""
        return self._client is not None

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Take one event to its place; see ``TransportInterface``."""
        forwarded = as_forwarded(event)
        with self._hiding():
            client = await self._connected()
            try:
                return await self._send(client, forwarded, metadata)
            except SerializationError:
                raise
            except BaseException:
                await self._drop(client)
                raise

    async def health_check(self) -> bool:
        """Ask the other side whether it is there."""
        with self._hiding():
            client = await self._connected()
            try:
                return await self._ping(client)
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
        """Let no exception through that shows a secret, in itself or in what is behind it."""
        try:
            yield
        except Exception as error:
            if hide_in_error(error, self._secrets):
                raise
            told = f"{type(error).__name__}, whose text is not shown because it holds a secret"
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
            # A client belongs to the loop in which it was made.
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
            except Exception:  # noqa: BLE001, S110 - it has failed already, and that is what is told
                pass


def needed(module: str, extra: str) -> ModuleType:
    """Import a client.

    Raises:
        ConfigurationError: When it is not installed; it says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed, which this transport needs: "
            f"pip install 'wakelog[{extra}]'"
        ) from error


def checked_url(url: str, *schemes: str) -> str:
    """Return an address as it is.

    Raises:
        ConfigurationError: When it does not begin as it has to. It may hold a password, so it is not
            told.
    """
    beginnings = [f"{scheme}://" for scheme in schemes]
    if not str(url).lower().startswith(tuple(beginnings)):
        allowed = " or ".join(beginnings)
        raise ConfigurationError(f"url is not usable: it has to begin with {allowed}")
    return url


def message_of(event: ForwardedEvent, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what is sent about an event: who it is, what it says, and ``metadata`` where given."""
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
        SerializationError: When it has no such form.
    """
    try:
        return orjson.dumps(to_line(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the event cannot be written as JSON: {error}") from error
