"""Sessions as server-sent events for web pages: text frames, and an ASGI application."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from wakelog._admission import Hosts, is_local
from wakelog.errors import ConfigurationError, TooManyReadersError
from wakelog.streams._lines import Chunk
from wakelog.streams._logger import _logger
from wakelog.streams._places import read_position
from wakelog.streams._reader import Reader
from wakelog.streams._streams import SessionStreams

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

KEEP_ALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
MAX_CONNECTIONS = 1000
_RETRY_AFTER_SECONDS = 5
# In every response, so that a browser does not guess another content type.
_NO_SNIFF = (b"x-content-type-options", b"nosniff")


def sse(
    session_id: str,
    *,
    streams: SessionStreams | None = None,
    last_event_id: str | None = None,
    from_start: bool = True,
    until_end: bool = False,
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> AsyncGenerator[str, None]:
    """Return a session as server-sent events (WHATWG HTML, section 9.2).

    Each chunk is an event named after its kind: ``chunk``, ``start``, ``end``, ``reasoning_start``
    or ``reasoning_stop``. Its data is JSON, because the format would change line ends and leading
    spaces of a
    text: ``text``, ``stream_id``, and ``status`` for an ``end``. Its id is the position after it.

    Args:
        session_id: The session.
        streams: The streams; default: those of the module's ``_logger``.
        last_event_id: The browser's ``Last-Event-ID`` when it reconnects: continue from there.
        from_start: Without ``last_event_id``, whether to begin with the oldest chunk or with new
            ones.
        until_end: Whether to end after the next end of a stream.
        keep_alive: Send a comment after this many seconds without a chunk, so that no proxy closes
            the connection.

    Returns:
        An async generator of text frames.

    Raises:
        ConfigurationError: If ``last_event_id`` is not a position.
        TooManyReadersError: If the maximum number of readers is reached.
        JournalError: If the directory cannot be used.
    """
    reader = (streams or _logger.streams).read(
        session_id,
        after=last_event_id or None,
        from_start=from_start and not last_event_id,
        until_end=until_end,
    )
    return _frames(reader, keep_alive)


async def _frames(reader: Reader, keep_alive: float) -> AsyncGenerator[str, None]:
    try:
        # Send an id before the first chunk, so that a client that reconnects continues here.
        yield f"retry: {RETRY_MILLISECONDS}\nid: {reader.position}\n\n"
        while True:
            chunk = await reader.next(keep_alive)
            if chunk is not None:
                yield _frame(chunk, reader.position)
            elif reader.ended is not None:
                return
            else:
                yield ": still here\n\n"
    finally:
        reader.close()  # otherwise it would continue to count as a reader


def _frame(chunk: Chunk, position: str) -> str:
    data: dict[str, str] = {}
    if chunk.kind == "chunk":
        data["text"] = chunk.text
    if chunk.stream_id is not None:
        data["stream_id"] = chunk.stream_id
    if chunk.kind == "end" and chunk.status is not None:
        data["status"] = chunk.status
    return f"id: {position}\nevent: {chunk.kind}\ndata: {json.dumps(data)}\n\n"


class StreamsApp:
    """An ASGI application that serves sessions as server-sent events.

    Mount it in Starlette or FastAPI, or serve it by itself: ``GET <mount>/<session id>``. It
    continues from the header ``Last-Event-ID``, or from ``?after=`` if a page cannot set headers;
    ``?from=now`` begins with new chunks, and ``?until=end`` ends after the next end of a stream.

    Args:
        streams: The streams; default: those of the module's ``_logger``.
        authorize: Called with the ASGI scope and the session's id; if it returns False, the
            response is 403. Without it, only requests from this machine over the loopback interface
            are served, and they can read every session.
        allowed_hosts: Names of the application besides those of the loopback interface; for another
            name in the header Host, the response is 421. ``*.example.com`` allows all names below
            that one, and ``*`` any name.
        max_connections: The maximum number of requests at a time; for more, the response is 503.
        keep_alive: As in ``sse``.

    Raises:
        ConfigurationError: If ``allowed_hosts`` has an invalid name, or ``max_connections`` is not
            a number of at least 1.
    """

    def __init__(
        self,
        streams: SessionStreams | None = None,
        *,
        authorize: Callable[[Scope, str], bool | Awaitable[bool]] | None = None,
        allowed_hosts: Collection[str] = (),
        max_connections: int = MAX_CONNECTIONS,
        keep_alive: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        limit: object = max_connections
        if not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"max_connections must be at least 1, got {limit!r:.80}")
        self._streams = streams
        self._authorize = authorize
        self._hosts = Hosts(allowed_hosts)
        self._room = max_connections
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        session_id = scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        if not self._hosts.allows(scope):
            await _answer(
                send, 421, "this host is not served: name it in StreamsApp(allowed_hosts=…)"
            )
        elif scope["method"] != "GET":
            await _answer(send, 405, "this address is for GET", [(b"allow", b"GET")])
        elif not session_id:
            await _answer(send, 404, "name a session: GET <address>/<session id>")
        elif self._authorize is None and not is_local(scope):
            text = "without StreamsApp(authorize=…), sessions are served on the loopback only"
            await _answer(send, 403, text)
        elif self._room < 1:
            await _answer_busy(send, "there are as many connections as max_connections allows")
        else:
            # Count the request before `authorize`, which may take some time, too.
            self._room -= 1
            try:
                if await self._allowed(scope, session_id):
                    await self._serve(scope, session_id, receive, send)
                else:
                    await _answer(send, 403, "this session is not for you")
            except TooManyReadersError as error:
                await _answer_busy(send, str(error))
            finally:
                self._room += 1

    async def _allowed(self, scope: Scope, session_id: str) -> bool:
        allowed = True if self._authorize is None else self._authorize(scope, session_id)
        return bool(await allowed) if inspect.isawaitable(allowed) else bool(allowed)

    async def _serve(self, scope: Scope, session_id: str, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        headers = dict(scope["headers"])
        last = headers.get(b"last-event-id", b"").decode("latin-1") or query.get("after", [""])[0]
        try:
            read_position(last or "0")
        except ConfigurationError as error:
            await _answer(send, 400, str(error))
            return
        frames = sse(
            session_id,
            streams=self._streams,
            last_event_id=last,
            from_start=query.get("from") != ["now"],
            until_end=query.get("until") == ["end"],
            keep_alive=self._keep_alive,
        )
        sending = asyncio.ensure_future(_send_all(frames, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled() and (failure := sending.exception()) is not None:
            raise failure


async def _send_all(frames: AsyncGenerator[str, None], send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        _NO_SNIFF,
        (b"x-accel-buffering", b"no"),  # otherwise nginx would buffer events
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async for frame in frames:
            body = {"type": "http.response.body", "body": frame.encode(), "more_body": True}
            await send(body)
    finally:
        await frames.aclose()
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(
    send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    headers = [kind, _NO_SNIFF, *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})


async def _answer_busy(send: Send, text: str) -> None:
    later = (b"retry-after", str(_RETRY_AFTER_SECONDS).encode())
    await _answer(send, 503, text, [later])
