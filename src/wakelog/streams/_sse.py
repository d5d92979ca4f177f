"""Sessions as server-sent events, for web pages: text frames, and a plain ASGI application."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from wakelog.errors import ConfigurationError
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


def sse(
    session_id: str,
    *,
    streams: SessionStreams | None = None,
    last_event_id: str | None = None,
    from_start: bool = True,
    until_end: bool = False,
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> AsyncGenerator[str, None]:
    """Give a session as server-sent events (WHATWG HTML, section 9.2).

    Each chunk is an event named after its kind: ``chunk``, ``start``, ``end``,
    ``reasoning_start`` or ``reasoning_stop``. Its data is JSON, since a text may hold line ends and
    leading spaces that the format would change: ``text``, ``stream_id``, and ``status`` for an
    ``end``. Its id is the position after it.

    Args:
        session_id: The session.
        streams: Where it is; those of the module's ``_logger`` by default.
        last_event_id: What the browser sends as ``Last-Event-ID`` when it connects again: go on
            from there.
        from_start: Without one, begin with the oldest that is kept; otherwise with what comes.
        until_end: End after the next end of a stream.
        keep_alive: Send a comment when nothing has come for so long, in seconds, so that nobody on
            the way takes the connection for dead.

    Returns:
        An async generator of text frames.

    Raises:
        ConfigurationError: When ``last_event_id`` is no position.
        JournalError: When the directory cannot be used.
    """
    reader = (streams or _logger.streams).read(
        session_id,
        after=last_event_id or None,
        from_start=from_start and not last_event_id,
        until_end=until_end,
    )
    return _frames(reader, keep_alive)


async def _frames(reader: Reader, keep_alive: float) -> AsyncGenerator[str, None]:
    # The id is sent before anything has come, so that who loses the connection now goes on here.
    yield f"retry: {RETRY_MILLISECONDS}\nid: {reader.position}\n\n"
    while True:
        chunk = await reader.next(keep_alive)
        if chunk is not None:
            yield _frame(chunk, reader.position)
        elif reader.ended is not None:
            return
        else:
            yield ": still here\n\n"


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

    Mount it in Starlette or FastAPI, or serve it by itself: ``GET <mount>/<session id>``. It goes
    on from the header ``Last-Event-ID``, or from ``?after=`` where a page cannot set headers;
    ``?from=now`` begins with what comes, and ``?until=end`` ends after the next end of a stream.

    Args:
        streams: Where the sessions are; those of the module's ``_logger`` by default.
        authorize: Called with the ASGI scope and the session's id; whoever it refuses is answered
            403. Without it everyone who can reach the application can read every session.
        keep_alive: As in ``sse``.
    """

    def __init__(
        self,
        streams: SessionStreams | None = None,
        *,
        authorize: Callable[[Scope, str], bool | Awaitable[bool]] | None = None,
        keep_alive: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._streams = streams
        self._authorize = authorize
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        session_id = scope["path"].removeprefix(scope.get("root_path", "")).strip("/")
        if scope["method"] != "GET":
            await _answer(send, 405, "this address is for GET", [(b"allow", b"GET")])
        elif not session_id:
            await _answer(send, 404, "name a session: GET <address>/<session id>")
        elif not await self._allowed(scope, session_id):
            await _answer(send, 403, "this session is not for you")
        else:
            await self._serve(scope, session_id, receive, send)

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
        (b"x-accel-buffering", b"no"),  # or nginx would hold events back
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
    start = {"type": "http.response.start", "status": status, "headers": [kind, *(headers or [])]}
    await send(start)
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
