"""An ASGI application that records each request, and may deliver at the end of its lifespan."""

from __future__ import annotations

import os
from typing import Any

import wakelog

log = wakelog.configure("asgi")


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Record the request, or take part in the lifespan."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        if os.environ["AT_THE_END"] == "shutdown":
            wakelog.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
        return
    log.user_message(scope["path"])
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})
