"""Serving the page."""

from __future__ import annotations

import errno
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from wakelog.errors import ConfigurationError

if TYPE_CHECKING:
    from wakelog.page._gate import App

_NEEDS: Final = "this needs Starlette and uvicorn: pip install 'wakelog[view]'"
_BACKLOG: Final = 128
_END_SECONDS: Final = 1
_TOKEN_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class PageSettings:
    """The settings of the page.

    Attributes:
        host: The address to listen on.
        port: The port; 0 for a free one.
        token: The token that requests need; default: a random one.
        trace_url: The URL of a trace in another tool, with ``{trace_id}`` in it.
        links: Names and URLs of other pages to link to.
        prometheus: The URL of a Prometheus with the recording processes' metrics.
        exporter_of: Returns the exporter of a signal, for replaying dead letters; None if they
            cannot be replayed here.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_TOKEN_BYTES))
    trace_url: str | None = None
    links: Sequence[tuple[str, str]] = ()
    prometheus: str | None = None
    exporter_of: Callable[[str], Any] | None = None


def serve(
    path: Path, journal: Path | None, settings: PageSettings, announce: Callable[[str], None]
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        path: A journal, a writer's folder, or a file or directory of lines.
        journal: The journal's directory; None without one.
        settings: The settings.
        announce: Called with the page's URL, which has the token in its fragment, when it can be
            opened.

    Raises:
        ConfigurationError: If the address cannot be used, or Starlette or uvicorn is not installed.
    """
    try:
        import uvicorn

        from wakelog.page._app import Pages
        from wakelog.page._gate import Gate
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise ConfigurationError(_NEEDS) from None
    listening = _listen(settings.host, settings.port)
    pages = Pages(path, journal, settings)
    gate: App = Gate(pages.app(), settings.token, [settings.host])
    config = uvicorn.Config(
        gate,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_END_SECONDS,
    )

    class PageServer(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            pages.end()
            super().handle_exit(sig, frame)

    try:
        announce(_address(listening, settings))
        # After its end, uvicorn raises the signal again; SIGTERM is ignored, and Ctrl-C is not.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            PageServer(config).run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)
    finally:
        pages.close()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        hint = ". Give another --port, or none for a free one" if taken else ""
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}{hint}") from error
    return made


def _address(listening: socket.socket, settings: PageSettings) -> str:
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}/#token={settings.token}"
