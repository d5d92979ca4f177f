"""``EventSessionLogger``: one awaitable for every event; local first, then on to elsewhere."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Self

from wakelog.errors import (
    BufferFullError,
    ConfigurationError,
    LocalLoggingError,
)
from wakelog.events import AgentEvent, plain_fields, session_of
from wakelog.events import semconv as s
from wakelog.events._plain import SESSION_KEYS
from wakelog.gateway._books import State, tally_on
from wakelog.gateway._circuit import CircuitState
from wakelog.gateway._events import (
    ForwardedEvent,
    as_read_back,
    encoded_line,
    plain_event,
    without_system_prompts,
)
from wakelog.gateway._files import SessionFiles
from wakelog.gateway._formats import Formatter
from wakelog.gateway._forwarding import Forwarder
from wakelog.gateway._memory import MemoryQueue
from wakelog.gateway._names import unknown_session
from wakelog.gateway._sending import ErrorHandler, Forwarding, as_transport
from wakelog.gateway._settings import Settings, check_names, from_environment
from wakelog.gateway._syncing import Syncer
from wakelog.gateway.transports import CallbackTransport, TransportInterface
from wakelog.gateway.transports._local import Callback, Nowhere
from wakelog.journal import Durability
from wakelog.record import uuid7
from wakelog.redaction import redact
from wakelog.sinks import OverflowPolicy

_log = logging.getLogger("wakelog")
_P = ParamSpec("_P")


class GatewayStats(NamedTuple):
    """What a gateway has done so far.

    Attributes:
        logged: Events in files.
        local_errors: Awaits that raised, because the event was not logged or the queue was full.
        overhead_seconds: Time spent inside ``await logger(event)``, in all.
        forwarded: Events that the transport took.
        transport_errors: Attempts that failed.
        rejected: Events that the transport will never take, and that were set aside.
        corrupt: Events that could not be read back from their file.
        dropped: Events dropped from the queue in memory, by its policy or at the end.
        pending: Events of this logger that wait to be forwarded.
        open_files: Descriptors that are open.
        circuit_state: Whether events are sent now.
        is_connected: Whether the transport says that it can be used; False without one.
    """

    logged: int
    local_errors: int
    overhead_seconds: float
    forwarded: int
    transport_errors: int
    rejected: int
    corrupt: int
    dropped: int
    pending: int
    open_files: int
    circuit_state: CircuitState
    is_connected: bool


def _noting_what_is_given(init: Callable[_P, None]) -> Callable[_P, None]:
    """Have an object remember which arguments it was given, since they beat the environment."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def noting(*arguments: _P.args, **named: _P.kwargs) -> None:
        given = signature.bind(*arguments, **named).arguments
        logger: Any = given.pop("self")
        logger._given = frozenset((*given, *given.get("kwargs", {})))  # noqa: SLF001 - its own
        init(*arguments, **named)

    return noting


class EventSessionLogger:
    """Logs every event of an application's agents in its session's file, and forwards it.

    ``await logger(event)`` has logged the event when it returns, whatever becomes of forwarding,
    which goes on by itself: in each session's order, again and again until the transport has taken
    the event. What a process has not forwarded, the next one on the same directory does.

    Args:
        log_base_dir: Where the sessions' directories are; by default
            ``$XDG_STATE_HOME/wakelog-sessions/<OTEL_SERVICE_NAME>``.
        downstream_callback: A function, or coroutine function, that gets each event.
        downstream_transport: A transport that gets each event, in place of a callback.
        include_system_prompt: Whether system prompts are logged and forwarded.
        log_format: ``jsonl``, ``json``, or ``custom`` with ``formatter``; or a callable.
        file_naming_pattern: A file's name by the time of its first event, in UTC, for strftime.
        error_handler: Is called with each error, and the event that it concerned.
        max_retry_attempts: How often an event is sent again before the transport is taken for down.
        retry_delay_seconds: The longest wait before the first of these; later ones double.
        enable_local_logging: Whether files are written. Without them, what waits to be forwarded
            is in memory.
        session_directory_pattern: A session's directory below the base, with ``{session_id}``.
        unknown_session_pattern: The session of events that name none, with ``{uuid}``.
        kwargs: ``formatter`` (a callable that takes an event and returns its text), ``durability``,
            ``max_file_bytes`` (after which a session goes on in another file; 0 for never),
            ``max_line_bytes``, ``max_open_files``, ``redact_payloads``, ``redaction_config``,
            ``queue_size`` and ``overflow`` (of the queue in memory), ``concurrency`` (sessions that
            are forwarded at the same time), ``send_timeout_seconds``, ``close_timeout_seconds``,
            ``meter_provider`` (where metrics go, see ``docs/metrics.md``; else the global one, if
            it has been set before the logger is made).

    Raises:
        ConfigurationError: For an argument that does not exist or cannot be used.
    """

    _given: frozenset[str]

    @_noting_what_is_given
    def __init__(
        self,
        log_base_dir: str | os.PathLike[str] | None = None,
        downstream_callback: Callback | None = None,
        downstream_transport: TransportInterface | None = None,
        include_system_prompt: bool = True,  # noqa: FBT001, FBT002 - the specification's position
        log_format: str | Formatter = "jsonl",
        file_naming_pattern: str = "%Y%m%d_%H%M%S",
        error_handler: ErrorHandler | None = None,
        max_retry_attempts: int = 3,
        retry_delay_seconds: float = 1.0,
        enable_local_logging: bool = True,  # noqa: FBT001, FBT002 - as above
        session_directory_pattern: str = "{session_id}",
        unknown_session_pattern: str = "unknown_{uuid}",
        **kwargs: Any,
    ) -> None:
        check_names(kwargs)
        if downstream_callback is not None and downstream_transport is not None:
            raise ConfigurationError(
                "downstream_callback and downstream_transport cannot both be given: forward to one"
            )
        self._transport: TransportInterface | None = None
        if downstream_callback is not None:
            self._transport = CallbackTransport(downstream_callback)
        elif downstream_transport is not None:
            self._transport = as_transport(downstream_transport)
        self._closed = False
        self._forwarder: Forwarder | None = None
        settings = Settings(
            log_base_dir=log_base_dir,
            include_system_prompt=include_system_prompt,
            log_format=log_format,
            file_naming_pattern=file_naming_pattern,
            error_handler=error_handler,
            max_retry_attempts=max_retry_attempts,
            retry_delay_seconds=retry_delay_seconds,
            enable_local_logging=enable_local_logging,
            session_directory_pattern=session_directory_pattern,
            unknown_session_pattern=unknown_session_pattern,
            **kwargs,
        )
        # Before anything is registered below: in a forked child, the metrics begin first.
        self._tally = tally_on(settings.meter_provider)
        self._tally.follow(self._state)
        self._set_up(settings)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _set_up(self, settings: Settings) -> None:
        self.settings = settings
        self.log_base_dir = settings.base()
        self._unknown = unknown_session(settings.unknown_session_pattern)
        self._files = SessionFiles(
            self.log_base_dir,
            uuid7(),
            settings.directories(),
            settings.names(),
            settings.format(),
            max_open=settings.max_open_files,
            max_bytes=settings.max_file_bytes,
        )
        self._syncer = Syncer(self._files)
        # Whether what waits to be forwarded can be read back from the files.
        self._reads_files = settings.enable_local_logging and self._files.format.readable
        if self._forwarder is not None:
            self._forwarder.account.leave(None)
        if self._transport is not None:
            self._forwarder = self._forward_to(self._transport)

    def _forward_to(self, transport: TransportInterface) -> Forwarder:
        settings = self.settings
        account = self._tally.books.open(self._files.run)
        return Forwarder(
            self.log_base_dir,
            settings.directories().depth,
            self._files.run,
            Forwarding(
                max_retries=settings.max_retry_attempts,
                retry_delay=settings.retry_delay_seconds,
                send_timeout=settings.send_timeout_seconds,
                concurrency=settings.concurrency,
            ),
            transport,
            self._report,
            self._tally,
            account,
            None
            if self._reads_files
            else MemoryQueue(settings.queue_size, OverflowPolicy(settings.overflow), account),
        )

    async def __call__(self, event: object) -> bool:
        """Log an event, and hand it over to be forwarded.

        Args:
            event: A pydantic model, a dict, a dataclass, JSON as text, or any object. It belongs to
                the session that its ``user_session_id`` names, else its ``session_id``.

        Returns:
            True: the event has been logged. Without local logging, whether the queue took it.

        Raises:
            LocalLoggingError: When it was not logged; the cause says why.
            BufferFullError: Without files to read back, when the queue is full and its policy is
                to raise, or when the logger is closed while the event waits for room.
        """
        begun = time.perf_counter()
        try:
            return await self._log(event)
        except (LocalLoggingError, BufferFullError) as error:
            self._tally.failed_locally(error)
            self._report(error, event)
            raise
        finally:
            self._tally.spent(time.perf_counter() - begun)

    async def _log(self, event: object) -> bool:
        if self._closed:
            raise LocalLoggingError("the event was not logged: the logger has been closed")
        settings = self.settings
        forwarder = None if self._transport is None else self._forwarder
        try:
            plain = plain_event(event)
            session = session_of(plain) or self._unknown
            plain = self._cleaned(plain)
            name, attributes = plain_fields(plain)
            if name is None and not isinstance(event, dict | str | bytes | bytearray):
                name = type(event).__name__
            attributes[s.CONVERSATION_ID] = session
            if forwarder is not None and self._reads_files:
                attributes[s.GATEWAY_FORWARD] = True
            record_id = event.event_id if isinstance(event, AgentEvent) else uuid7()
            now = time.time_ns()
            made: Callable[[], ForwardedEvent] = functools.partial(
                as_read_back, plain, record_id, session, now, name
            )
            if not settings.enable_local_logging:
                content = b""
            else:
                content = encoded_line(plain, name, attributes, now, settings.max_line_bytes)
                if forwarder is not None and not forwarder.prepared:
                    self._prepare(forwarder)
                file, _ = self._files.append(session, record_id, content, made)
                if settings.durability is Durability.FSYNC:
                    await self._syncer.synced(file)
                elif settings.durability is Durability.PERIODIC:
                    self._syncer.sync_soon(file)
                self._tally.logged += 1
        except Exception as error:
            raise LocalLoggingError(f"the event was not logged: {error}") from error
        if forwarder is None:
            return settings.enable_local_logging
        if self._reads_files:
            forwarder.note(file.directory, file.path)
            return True
        taken = await forwarder.offer(session, made())
        return taken or settings.enable_local_logging

    def _cleaned(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Take out what shall not be written."""
        settings = self.settings
        if not settings.include_system_prompt:
            plain = without_system_prompts(plain)
        if settings.redact_payloads:
            # The session's id stands in the directory's name as well.
            ids: dict[str, Any] = {key: plain[key] for key in SESSION_KEYS if key in plain}
            plain = redact(plain, settings.redaction_config)
            if any(plain.get(key) != value for key, value in ids.items()):
                plain = {**plain, **ids}
        return plain

    def _prepare(self, forwarder: Forwarder) -> None:
        try:
            forwarder.prepare()
        except OSError as error:
            forwarder.prepared = True  # it is tried again beside forwarding
            _log.warning("cannot tell others that this logger is alive: %s", error)

    async def flush(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - it returns whether
        """Wait until what has been logged so far has been forwarded.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so. True when there is nowhere to forward to.
        """
        if self._forwarder is None:
            return True
        return await self._forwarder.flush(timeout)

    async def close(self) -> None:
        """Forward what the transport takes within ``close_timeout_seconds``, and close everything.

        What is left is forwarded by the next logger on the same directory. Doing so twice is
        harmless.

        Raises:
            LocalLoggingError: When the operating system refused to complete a file.
        """
        if self._closed:
            return
        self._closed = True
        timeout = self.settings.close_timeout_seconds
        if self._forwarder is not None:
            await self._forwarder.close(timeout)
        try:
            await asyncio.to_thread(self._syncer.sync_due)
            self._files.close()
        except Exception as error:
            raise LocalLoggingError(f"a file was not completed: {error}") from error
        finally:
            await self._close_transport(timeout)

    async def _close_transport(self, seconds: float) -> None:
        close = getattr(self._transport, "close", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(seconds):
                answer = close()
                if inspect.isawaitable(answer):
                    await answer
        except Exception as error:  # noqa: BLE001 - whatever it raises, everything is in the files
            self._report(error, None)

    async def __aenter__(self) -> Self:
        """Begin to forward what an earlier process has left."""
        if self._forwarder is not None:
            self._prepare(self._forwarder)
            self._forwarder.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def configure_from_env(self) -> None:
        """Take from ``AGENT_LOG_*`` what the constructor was not given.

        Raises:
            ConfigurationError: For a value that cannot be used, or after the first event.
        """
        found = from_environment(self._given)
        if not found:
            return
        if self._tally.logged or (self._forwarder is not None and self._forwarder.is_running):
            raise ConfigurationError(
                "configure_from_env() came after the first event: call it before"
            )
        self._set_up(replace(self.settings, **found))

    def update_downstream_callback(self, callback: Callback | None) -> TransportInterface | None:
        """Forward to a function from now on, or nowhere.

        Returns:
            The transport before, which is not closed.
        """
        return self._update(None if callback is None else CallbackTransport(callback))

    def update_downstream_transport(
        self, transport: TransportInterface | None
    ) -> TransportInterface | None:
        """Forward to a transport from now on, or nowhere.

        What has been logged while there was nowhere to forward to is not forwarded.

        Returns:
            The transport before, which is not closed.
        """
        return self._update(None if transport is None else as_transport(transport))

    def _update(self, transport: TransportInterface | None) -> TransportInterface | None:
        before, self._transport = self._transport, transport
        if self._forwarder is not None:
            # What waits still does, and goes to the next transport.
            self._forwarder.replace(Nowhere() if transport is None else transport)
        elif transport is not None:
            self._forwarder = self._forward_to(transport)
        return before

    def get_session_directory(self, session_id: str | None = None) -> Path:
        """Return the directory of a session, whether or not it exists yet.

        Args:
            session_id: The session; the one of events that name none by default.
        """
        return self._files.directory_of(self._unknown if session_id is None else str(session_id))

    def get_log_file_path(self, session_id: str | None = None) -> Path | None:
        """Return the file that a session's events go to, None before its first event.

        Args:
            session_id: The session; the one of events that name none by default.
        """
        return self._files.path_of(self._unknown if session_id is None else str(session_id))

    @property
    def include_system_prompt(self) -> bool:
        """Whether system prompts are logged and forwarded."""
        return self.settings.include_system_prompt

    def stats(self) -> GatewayStats:
        """Return what has been done so far. Cheap."""
        forwarder, tally = self._forwarder, self._tally
        return GatewayStats(
            logged=tally.logged,
            local_errors=tally.local_errors.total(),
            overhead_seconds=tally.overhead,
            forwarded=forwarder.forwarded if forwarder else 0,
            transport_errors=tally.transport_errors.total(),
            rejected=forwarder.rejected if forwarder else 0,
            corrupt=forwarder.corrupt if forwarder else 0,
            dropped=forwarder.account.dropped.total() if forwarder else 0,
            pending=forwarder.pending if forwarder else 0,
            open_files=self._files.open_files,
            circuit_state=forwarder.circuit_state if forwarder else CircuitState.CLOSED,
            is_connected=_is_connected(self._transport),
        )

    def _state(self) -> State:
        forwarder = self._forwarder
        memory = forwarder.memory if forwarder is not None else None
        if forwarder is None or self._closed:
            return State(self._files.open_files)
        return State(
            open_files=self._files.open_files,
            circuit=forwarder.circuit_state,
            is_healthy=forwarder.is_healthy if self._transport is not None else None,
            queue_size=memory.waiting if memory else 0,
            queue_capacity=memory.capacity if memory else 0,
            oldest=forwarder.oldest,
        )

    def _report(self, error: Exception, event: object) -> None:
        handler = self.settings.error_handler
        if handler is None:
            return
        try:
            handler(error, event)
        except Exception:  # noqa: BLE001 - a handler that fails must not fail the agent
            _log.exception("the error handler failed on %s", error)

    def _after_fork(self) -> None:
        self._tally.begin()
        self._files.abandon(uuid7())
        self._syncer = Syncer(self._files)
        if self._forwarder is not None:
            self._forwarder.abandon()
            self._forwarder = None
        if self._transport is not None:
            self._forwarder = self._forward_to(self._transport)


def _is_connected(transport: TransportInterface | None) -> bool:
    connected: Any = getattr(transport, "is_connected", transport is not None)
    return bool(connected() if callable(connected) else connected)
