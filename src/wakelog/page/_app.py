"""The page's web application, which responds with JSON and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from wakelog._printable import printable
from wakelog.errors import ConfigurationError, WakelogError
from wakelog.index import SORTS, Index
from wakelog.page._asked import selection_in
from wakelog.page._following import Follower
from wakelog.page._health import health_of, letters_to_replay
from wakelog.page._library import Library
from wakelog.page._prometheus import PrometheusClient
from wakelog.page._questions import contents, conversation, summaries
from wakelog.page._rows import position_of
from wakelog.page._scopes import ConversationScope, SearchScope, Watched, follow
from wakelog.page._static import MEDIA, NAMES, PAGE, static

if TYPE_CHECKING:
    from starlette.requests import Request

    from wakelog.page._server import PageSettings

_LIMIT: Final = 100
_MOST_AT_ONCE: Final = 300
_LONGEST_BODY: Final = 1 << 20
_GREATEST: Final = 1 << 53


class Pages:
    """Handles the page's requests.

    Args:
        path: The path to show.
        journal: The journal's directory; None without one, and hence without books.
        settings: The other settings.
    """

    def __init__(self, path: Path, journal: Path | None, settings: PageSettings) -> None:
        self._path, self._journal, self._settings = path, journal, settings
        address = settings.prometheus
        self._figures = None if address is None else PrometheusClient(address)
        self._library = Library(path)
        self._follower = Follower(path)

    def end(self) -> None:
        """End the responses that would otherwise continue. A signal handler may call it."""
        self._follower.ending = True

    def close(self) -> None:
        """End the threads."""
        self._follower.close()
        self._library.close()

    def app(self) -> Starlette:
        """Return the application without access control."""
        gets: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/": self.page,
            "/static/{name}": self.file,
            "/api/home": self.home,
            "/api/sessions": partial(self.summaries, runs=False),
            "/api/runs": partial(self.summaries, runs=True),
            "/api/session": self.session,
            "/api/contents": self.contents,
            "/api/figures": self.figures,
            "/api/health": self.health,
            "/api/follow": self.follow,
        }
        routes = [Route(path, answer, methods=["GET"]) for path, answer in gets.items()]
        routes.append(Route("/api/replay", self.replay, methods=["POST"]))
        return Starlette(
            routes=routes, exception_handlers={WakelogError: _refused, HTTPException: _http_error}
        )

    async def page(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """Return the page itself."""
        return Response(static(PAGE), media_type=MEDIA[".html"])

    async def file(self, request: Request) -> Response:
        """Return a script, the style sheet or the icon."""
        name = request.path_params["name"]
        if name not in NAMES:
            raise HTTPException(404, "there is no such file")
        return Response(static(name), media_type=MEDIA[f".{name.rpartition('.')[2]}"])

    async def home(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """Return the page's path and settings."""
        return _json(
            {
                "path": printable(str(self._path)),
                "has_books": self._journal is not None,
                "trace_url": self._settings.trace_url,
                "links": self._settings.links,
            }
        )

    async def summaries(self, request: Request, *, runs: bool) -> Response:
        """Return sessions or runs with their totals."""
        selection = selection_in(request.query_params.get("q", ""))
        sort = request.query_params.get("sort", "time")
        if sort not in SORTS:
            raise HTTPException(400, f"sort must be one of {', '.join(SORTS)}")
        offset, limit = _number(request, "offset", 0), _number(request, "limit", _LIMIT)
        return _json(
            await self._library.ask(
                lambda index: summaries(
                    index, selection, runs=runs, sort=sort, offset=offset, limit=limit
                )
            )
        )

    async def session(self, request: Request) -> Response:
        """Return the rows of a session or run."""
        session, run = _whose(request)
        return _json(await self._library.ask(lambda index: conversation(index, session, run)))

    async def contents(self, request: Request) -> Response:
        """Return the content of events."""
        keys = request.query_params.get("at", "").split(",")[:_MOST_AT_ONCE]
        positions = [place for key in keys if (place := position_of(key)) is not None]
        whole = "whole" in request.query_params
        return _json(await self._library.ask(lambda index: contents(index, positions, whole=whole)))

    async def figures(self, request: Request) -> Response:
        """Return sums over the events of a search."""
        selection = selection_in(request.query_params.get("q", ""))

        def stats(index: Index) -> dict[str, Any]:
            return index.stats(selection).to_dict()

        return _json(await self._library.ask(stats))

    async def health(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """Return the health of delivery."""
        journal = self._journal
        if journal is None:
            return _json({"path": printable(str(self._path)), "total": None})
        can_replay, figures = self._settings.exporter_of is not None, self._figures

        def answer() -> dict[str, Any]:
            found = health_of(journal, can_replay=can_replay)
            return {**found, "processes": None if figures is None else figures.now()}

        return _json(await self._library.do(answer))

    async def replay(self, request: Request) -> Response:
        """Deliver dead letters again, and return the result of each."""
        journal, exporter_of = self._journal, self._settings.exporter_of
        if journal is None or exporter_of is None:
            raise HTTPException(
                409, "there is nowhere to deliver to: start `wakelog view` with --endpoint"
            )
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_BODY:
                raise HTTPException(413, "the request is too long")
        try:
            ids = orjson.loads(body)["ids"]
        except (ValueError, KeyError, TypeError):
            raise HTTPException(400, 'send JSON: {"ids": […]}') from None
        if not isinstance(ids, list):
            raise HTTPException(400, "ids must be a list")
        wanted = {one for one in ids if isinstance(one, str)}

        def replay_all() -> list[dict[str, Any]]:
            from wakelog.otel.shipping import replay

            return [
                {"id": letter.id, "replayed": reason is None, "reason": reason}
                for letter, reason in replay(letters_to_replay(journal, wanted), exporter_of)
            ]

        return _json({"replayed": await self._library.do(replay_all)})

    async def follow(self, request: Request) -> Response:
        """Return server-sent events: first the existing rows, then new ones."""
        query = request.query_params
        scope: Watched | None = None
        if "q" in query:
            scope = SearchScope(selection_in(query["q"]), _number(request, "limit", _LIMIT))
        elif "session" in query or "run" in query:
            scope = ConversationScope(*_whose(request))
        return StreamingResponse(self._frames(scope), media_type="text/event-stream; charset=utf-8")

    async def _frames(self, scope: Watched | None) -> AsyncIterator[bytes]:
        try:
            async with aclosing(follow(self._library, self._follower, scope)) as found:
                async for kind, data in found:
                    yield _frame(kind, data)
        except WakelogError as error:
            yield _frame("problem", {"text": str(error)})


def _frame(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def _json(data: object) -> Response:
    return Response(orjson.dumps(data), media_type="application/json")


def _whose(request: Request) -> tuple[str | None, str | None]:
    session, run = request.query_params.get("session"), request.query_params.get("run")
    if (session is None) == (run is None):
        raise HTTPException(400, "name a session or a run")
    return session, run


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not given.isdecimal() or int(given) > _GREATEST:
        raise HTTPException(400, f"{name} must be a whole number, got {given!r:.40}")
    return int(given)


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as Starlette calls it
    status = 400 if isinstance(error, ConfigurationError) else 500
    return Response(orjson.dumps({"error": str(error)}), status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as Starlette calls it
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered only for this type
    data = orjson.dumps({"error": error.detail})
    return Response(data, error.status_code, media_type="application/json")
