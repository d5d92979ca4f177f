"""A chat back end that streams model answers to a web page while it records them.

    pip install 'wakelog[web]'
    python examples/chat_backend.py --directory chat-streams
    # then open http://127.0.0.1:8000/

The page sends POST /sessions/<id>/messages and follows /streams/<id>. If you reload it, lose the
network, or kill and restart this program, the page continues where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Mount, Route
except ImportError as error:
    raise SystemExit(f"{error}: pip install 'wakelog[web]'") from None

from wakelog.streams import SessionStreams, StreamsApp

PAGE = Path(__file__).with_name("chat_page.html")


async def model(question: str, delay: float) -> AsyncIterator[str]:
    """Stand in for a language model: yield an answer, word by word."""
    words = f"You said: {question}. " + " ".join(f"word-{number}" for number in range(60)) + "."
    for word in words.split(" "):
        await asyncio.sleep(delay)
        yield word + " "


def application(streams: SessionStreams, delay: float) -> Starlette:
    answering: set[asyncio.Task[None]] = set()

    async def answer(session_id: str, question: str) -> None:
        with streams.stream(session_id) as stream:
            async for word in model(question, delay):
                stream.write(word)

    async def page(_: Request) -> Response:
        return FileResponse(PAGE)

    async def ask(request: Request) -> Response:
        question = str((await request.json())["text"])
        # A separate task: the answer is finished and recorded even if no client reads it.
        task = asyncio.create_task(answer(request.path_params["session_id"], question))
        answering.add(task)
        task.add_done_callback(answering.discard)
        return JSONResponse({}, status_code=202)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        streams.close()

    routes = [
        Route("/", page),
        Route("/sessions/{session_id}/messages", ask, methods=["POST"]),
        Mount("/streams", StreamsApp(streams)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--directory", default="chat-streams", help="where the journal is")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds between two words")
    options = parser.parse_args()
    streams = SessionStreams(options.directory)
    uvicorn.run(application(streams, options.delay), port=options.port, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
