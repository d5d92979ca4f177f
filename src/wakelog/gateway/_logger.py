"""``EventSessionLogger``: one awaitable for every event, which is logged and then forwarded."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from wakelog import _arguments as a
from wakelog.buffer import OverflowPolicy
from wakelog.errors import (
    BufferFullError,
    ConfigurationError,
    EventTooLargeError,
    LocalLoggingError,
    SerializationError,
)
from wakelog.events import AgentEvent, plain_fields
from wakelog.events import semconv as s
from wakelog.gateway._arguments import Arguments, noting_what_is_given
from wakelog.gateway._books import State
from wakelog.gateway._content import content_of
from wakelog.gateway._dead_letters import DeadLetters
from wakelog.gateway._downstream import Downstream
from wakelog.gateway._events import (
    ForwardedEvent,
    as_read_back,
    encoded_line,
)
from wakelog.gateway._exit import settle
from wakelog.gateway._files import SessionFiles
from wakelog.gateway._formats import Formatter
from wakelog.gateway._forwarding import Forwarder
from wakelog.gateway._memory import MemoryQueue
from wakelog.gateway._names import unknown_session
from wakelog.gateway._owner import RunOwner, pipeline_of
from wakelog.gateway._sending import ErrorHandler, as_transport
from wakelog.gateway._settings import Settings, check_names, from_environment
from wakelog.gateway._stats import GatewayStats, counters_on, state_of, stats_of
from wakelog.gateway.transports import Callback, CallbackTransport, TransportInterface
from wakelog.journal import DeadLetter, Durability, Service
from wakelog.record import Content, type_name, uuid7
from wakelog.redaction import prepare
from wakelog.runtime import ForkOrder, absolute, notice_fork, reset_in_child, resolved
from wakelog.storage import FilesCommitter

_log = logging.getLogger("wakelog")
_SYNC_SECONDS = 0.1
# Enum members as module globals: attribute access on the enum takes four times as long.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC


class EventSessionLogger(Arguments):
    """Logs every event of an application's agents in its session's file, and forwards it.

    When ``await logger(event)`` returns, the event has been logged, whatever happens to forwarding.
    Forwarding runs in the background, in each session's order, and repeats until the transport has
    accepted the event. The next process on the same directory forwards what is left.

    Args:
        log_base_dir: Where the sessions' directories are; default: ``AGENT_LOG_DIR``, or
            ``logs/sessions``.
        downstream_callback: A function, or coroutine function, that receives each event.
        downstream_transport: A transport that receives each event; with a callback, only events
            that the callback does not accept.
        include_system_prompt: Whether system prompts are logged and forwarded.
        log_format: ``jsonl``, ``json``, ``custom`` with ``formatter``, or a callable.
        file_naming_pattern: A strftime pattern for file names, from the first event's time in UTC.
        error_handler: Called with each error and a text about the operation, event and session.
        max_retry_attempts: How often sending is retried before the transport is considered down.
        retry_delay_seconds: The longest wait before the first retry; it doubles for each later one.
        enable_local_logging: Whether files are written; if not, pending events are in memory.
        session_directory_pattern: A session's path below the base, with ``{session_id}``.
        unknown_session_pattern: The session id for events without one, with ``{uuid}``.
        kwargs: ``formatter`` (a callable that takes an event and returns its text), ``durability``,
            ``max_file_bytes`` (after which a session continues in another file; 0 for never),
            ``max_line_bytes`` (larger values are stored beside the line), ``max_event_bytes`` (for
            a larger event a stub is written and the call raises), ``max_open_files``,
            ``redact_payloads``, ``redaction_config``, ``queue_size`` and ``overflow`` (of the queue
            in memory), ``concurrency`` (how many sessions are forwarded at the same time),
            ``max_probe_attempts`` (how often an event may fail after its retries, while others are
            accepted, before it becomes a dead letter; None for no limit), ``pipeline`` (the
            pipeline's name; default: the destination's name), ``send_timeout_seconds``,
            ``close_timeout_seconds``, and ``meter_provider`` (for metrics, see ``docs/metrics.md``;
            default: the global one, if it is set before the logger is created).

    Every argument is an attribute of the same name.

    Raises:
        ConfigurationError: If an argument does not exist or cannot be used.
    """

    _given: frozenset[str]

    @noting_what_is_given
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
        _as_callback(downstream_callback)  # checks it before anything is created
        transport = None if downstream_transport is None else as_transport(downstream_transport)
        self.downstream_callback: Callback | None = downstream_callback
        self.downstream_transport: TransportInterface | None = transport
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
        # Before reset_in_child() below, because in a forked child the metrics must be reset first.
        self._counters = counters_on(settings.meter_provider)
        self._set_up(settings)
        self._counters.follow(self._state)
        reset_in_child(self._after_fork, ForkOrder.THREADS)

    def _set_up(self, settings: Settings) -> None:
        self.settings = settings
        self._durability = Durability(settings.durability)
        self._max_event_bytes = a.max_event_bytes_of(settings.max_event_bytes)
        self.log_base_dir = settings.base()
        self._base = resolved(absolute(self.log_base_dir))
        self._redacted = prepare(settings.redaction_config) if settings.redact_payloads else None
        self._unknown = unknown_session(settings.unknown_session_pattern)
        self._files = SessionFiles(
            self._base,
            uuid7(),
            settings.directories(),
            settings.names(),
            settings.format(),
            max_open=settings.max_open_files,
            max_bytes=settings.max_file_bytes,
        )
        self._committer = FilesCommitter(_SYNC_SECONDS)
        self._letters = DeadLetters(self._base, settings.queue_size)
        # Whether pending events can be read back from the files.
        self._reads_files = settings.enable_local_logging and self._files.format.readable
        if self._forwarder is not None:
            self._forwarder.books.leave(None)
        self._forwarder = self._new_forwarder()

    def _new_forwarder(self) -> Forwarder | None:
        """Return a forwarder to the callback and the transport; None if there are none."""
        callback, settings = _as_callback(self.downstream_callback), self.settings
        if callback is None and self.downstream_transport is None:
            return None
        books = self._counters.books.open(self._files.run)
        downstream = Downstream(
            callback, self.downstream_transport, settings, self._report, self._counters
        )
        return Forwarder(
            self._base,
            self._files.run,
            RunOwner(
                str(Service.of_environment()),
                pipeline_of(settings.pipeline, *downstream.destinations),
            ),
            settings,
            downstream,
            self._report,
            self._counters,
            books,
            self._letters,
            None
            if self._reads_files
            else MemoryQueue(settings.queue_size, OverflowPolicy(settings.overflow), books),
        )

    @property
    def _forwards(self) -> bool:
        return self._forwarder is not None and bool(self._forwarder.downstream.active)

    async def __call__(self, event: object) -> bool:
        """Log an event, and add it to the events to be forwarded.

        Args:
            event: A pydantic model, a dict, a dataclass, JSON as text, or any object. Its session
                is ``user_session_id``, or else ``session_id``.

        Returns:
            True: the event has been logged. Without local logging, whether the queue accepted it.

        Raises:
            LocalLoggingError: If the event was not logged; the cause says why.
            BufferFullError: Without readable files, if the queue is full and its policy is to
                raise, or if the logger is closed while the event waits for space.
        """
        begun = time.perf_counter()
        try:
            return await self._log(event)
        except (LocalLoggingError, BufferFullError) as error:
            self._counters.failed_locally(error)
            self._report(error, f"local_logging: an event of type {type(event).__name__}")
            raise
        finally:
            self._counters.spent(time.perf_counter() - begun)

    async def _log(self, event: object) -> bool:
        notice_fork()
        if self._closed:
            raise LocalLoggingError("the event was not logged: the logger has been closed")
        settings = self.settings
        forwarder = self._forwarder if self._forwards else None
        try:
            plain, named = content_of(
                event, self._redacted, with_system_prompts=settings.include_system_prompt
            )
            session = named or self._unknown
            name, attributes = plain_fields(plain)
            kind = type(event)
            if name is None and not issubclass(kind, dict | str | bytes | bytearray):
                name = type_name(kind).rpartition(".")[2]
            attributes[s.CONVERSATION_ID] = session
            if forwarder is not None and self._reads_files:
                attributes[s.GATEWAY_FORWARD] = True
            record_id = event.event_id if issubclass(kind, AgentEvent) else uuid7()  # type: ignore[attr-defined] # of that class
            now = time.time_ns()
            made: Callable[[], ForwardedEvent] = functools.partial(
                as_read_back, plain, record_id, session, now, name
            )
            if settings.enable_local_logging:
                limits = settings.max_line_bytes, self._max_event_bytes
                too_large: EventTooLargeError | None = None
                try:
                    content = encoded_line(plain, name, attributes, now, *limits)
                except EventTooLargeError as error:
                    content, too_large = error.stub or b"", error
                if forwarder is not None and not forwarder.prepared:
                    self._prepare(forwarder)
                durability = self._durability
                if type(content) is Content:  # large: do not block the event loop
                    logged = await asyncio.to_thread(
                        self._files.append, session, record_id, content, made, durability
                    )
                else:
                    logged = self._files.append(session, record_id, content, made, durability)
                if durability is _FSYNC:
                    await self._committer.file_synced(logged.file, logged.ticket)
                elif durability is _PERIODIC:
                    self._committer.file_soon(logged.file, logged.ticket)
                self._counters.logged += 1
                if too_large is not None:
                    raise SerializationError(str(too_large)) from too_large  # noqa: TRY301 - one way out
        except Exception as error:
            raise LocalLoggingError(f"the event was not logged: {error}") from error
        if forwarder is None:
            return settings.enable_local_logging
        if self._reads_files:
            for path in logged.paths:  # an event that was written again is in two files
                forwarder.note(logged.file.directory, path)
            return True
        folder = self._base / logged.file.directory if settings.enable_local_logging else None
        taken = await forwarder.offer(session, made(), folder)
        return taken or settings.enable_local_logging

    def _prepare(self, forwarder: Forwarder) -> None:
        try:
            forwarder.prepare()
        except OSError as error:
            forwarder.prepared = True  # forwarding tries it again
            _log.warning("cannot tell others that this logger is alive: %s", error)

    async def flush(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - it returns whether
        """Wait until all events so far have been forwarded or set aside.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether all of them have been; True without a callback and transport.

        Raises:
            ConfigurationError: If the time-out is not a number.
        """
        notice_fork()
        timeout = a.wait_of(timeout)
        if self._forwarder is None:
            return True
        return await self._forwarder.flush(timeout)

    async def close(self) -> None:
        """Forward pending events for up to ``close_timeout_seconds``, and close everything.

        The next logger on the same directory forwards the others. A second call does nothing.

        Raises:
            LocalLoggingError: If a file could not be completed.
        """
        notice_fork()
        if self._closed:
            return
        self._closed = True
        timeout = self.settings.close_timeout_seconds
        if self._forwarder is not None:
            await self._forwarder.close(timeout)
            settle(self._forwarder)
        try:
            await asyncio.to_thread(self._committer.stop)
            self._files.close()
        except Exception as error:
            raise LocalLoggingError(f"a file was not completed: {error}") from error
        finally:
            await self._close_transport(timeout)

    async def _close_transport(self, seconds: float) -> None:
        close = getattr(self.downstream_transport, "close", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(seconds):
                answer = close()
                if inspect.isawaitable(answer):
                    await answer
        except Exception as error:  # noqa: BLE001 - the events are in the files, whatever it raises
            self._report(error, "close: the transport")

    async def __aenter__(self) -> Self:
        """Begin to forward what an earlier process left."""
        notice_fork()
        if self._forwarder is not None:
            self._prepare(self._forwarder)
            self._forwarder.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def configure_from_env(self) -> None:
        """Set arguments that the constructor was not given from the ``AGENT_LOG_*`` variables.

        Raises:
            ConfigurationError: If a value cannot be used, or an event has been logged already.
        """
        notice_fork()
        found = from_environment(self._given)
        if not found:
            return
        if self._counters.logged or (
            self._forwarder is not None and self._forwarder.loop is not None
        ):
            raise ConfigurationError(
                "configure_from_env() came after the first event: call it before"
            )
        self._set_up(replace(self.settings, **found))

    def update_downstream_callback(self, callback: Callback | None) -> None:
        """Replace the callback, or remove it with None. Pending events go to the new one, too."""
        notice_fork()
        transport = _as_callback(callback)
        self.downstream_callback = callback
        if self._forwarder is not None:
            self._forwarder.downstream.callback.transport = transport
            self._redirect(self._forwarder)
        else:
            self._forwarder = self._new_forwarder()

    def update_downstream_transport(self, transport: TransportInterface | None) -> None:
        """Replace the transport, or remove it with None. Pending events go to the new one, too.

        Events that were logged without a callback and transport are not forwarded. The previous
        transport is not closed.
        """
        self.downstream_transport = None if transport is None else as_transport(transport)
        if self._forwarder is not None:
            self._forwarder.downstream.transport.transport = self.downstream_transport
            self._redirect(self._forwarder)
        else:
            self._forwarder = self._new_forwarder()

    def _redirect(self, forwarder: Forwarder) -> None:
        if destinations := forwarder.downstream.destinations:
            pipeline = pipeline_of(self.settings.pipeline, *destinations)
            forwarder.redirect(RunOwner(str(Service.of_environment()), pipeline))

    def dead_letters(self, session_id: str | None = None) -> list[DeadLetter]:
        """Return the events that were set aside, because the downstream refuses them, oldest first.

        Args:
            session_id: The session; default: all sessions in the base directory.

        Raises:
            JournalError: If they cannot be read.
        """
        return [found.letter for found in self._letters.find(*self._letters_of(session_id))]

    async def replay_dead_letters(
        self,
        session_id: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - what it is called on a dead letter
    ) -> list[tuple[DeadLetter, str | None]]:
        """Send dead letters again, each once, for example after a callback was repaired.

        They arrive out of order, because later events of their sessions have been forwarded. One
        that is accepted is no longer a dead letter.

        Args:
            session_id: The session; default: all sessions in the base directory.
            id: The dead letter's id; default: all of them.

        Returns:
            Each dead letter with the reason why it was not accepted, or None if it was.

        Raises:
            ConfigurationError: Without a callback and transport.
            JournalError: If they cannot be read, or an acceptance cannot be noted.
        """
        if self._forwarder is None:
            raise ConfigurationError(
                "there is nowhere to send dead letters to: give downstream_callback or "
                "downstream_transport"
            )
        found = self._letters.find(*self._letters_of(session_id))
        return [
            (one.letter, await self._forwarder.replay(one))
            for one in found
            if id in (None, one.letter.id)
        ]

    def _letters_of(self, session_id: str | None) -> tuple[Path | None, str | None]:
        return None if session_id is None else self.get_session_directory(session_id), session_id

    def get_session_directory(self, session_id: str | None = None) -> Path:
        """Return the directory of a session, which may not exist yet.

        Args:
            session_id: The session; default: the one of events without a session.
        """
        return self._files.directory_of(self._unknown if session_id is None else str(session_id))

    def get_log_file_path(self, session_id: str | None = None) -> Path:
        """Return the path of a session's current file, or else its newest, or else its next one.

        Args:
            session_id: The session; default: the one of events without a session.
        """
        return self._files.path_of(self._unknown if session_id is None else str(session_id))

    def stats(self) -> GatewayStats:
        """Return the figures so far. The call is cheap."""
        notice_fork()
        return stats_of(self._counters, self._forwarder, self._files.open_files)

    def _state(self) -> State:
        forwarder = None if self._closed else self._forwarder
        return state_of(forwarder, self._files.open_files, forwards=self._forwards)

    def _report(self, error: Exception, doing: str) -> None:
        handler = self.settings.error_handler
        if handler is None:
            return
        try:
            handler(error, doing)
        except Exception:  # noqa: BLE001 - a handler that fails must not fail the agent
            _log.exception("the error handler failed on %s", error)

    def _after_fork(self) -> None:
        self._counters.reset()
        self._files.abandon(uuid7())
        self._committer = FilesCommitter(_SYNC_SECONDS)
        if self._forwarder is not None:
            self._forwarder.abandon()
        self._forwarder = self._new_forwarder()


def _as_callback(callback: Callback | None) -> CallbackTransport | None:
    return None if callback is None else CallbackTransport(callback)
