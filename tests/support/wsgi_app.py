"""A WSGI application that records when it is loaded, and at each request, in whatever process that is."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider

from wakelog.otel import DurableLogRecordProcessor

faulthandler.register(signal.SIGXCPU)  # for `Server.stop`
provider = LoggerProvider()
provider.add_log_record_processor(DurableLogRecordProcessor(None))
log = provider.get_logger("wsgi")
log.emit(body="loaded")


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Record the request."""
    log.emit(body=environ["PATH_INFO"])
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
