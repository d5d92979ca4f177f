"""Prints, as JSON, which of Wakelog's functions run for one record, by the door that it comes through.

    python -m tests.support.frames_program DIRECTORY

A process of its own: attributes that are bound, or filters that other tests have installed, cost frames.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from opentelemetry._logs import LogRecord, get_logger_provider

import wakelog
from wakelog.integrations.structlog import WakelogProcessor

OWN = str(Path(wakelog.__file__).parent)
RECORDS = 64


def doors(log: Any) -> dict[str, Callable[[], object]]:
    """Return one call for each, which records one event."""
    logger = structlog.wrap_logger(
        None, processors=[WakelogProcessor(log, last=True)], wrapper_class=structlog.BoundLogger
    )
    record = LogRecord(body="sold", attributes={"customer": "c-12", "express": True})
    drop_in = get_logger_provider().get_logger("frames")
    return {
        "drop-in": lambda: drop_in.emit(record),
        "emit": lambda: log.emit("custom", payload={"n": 1}),
        "tool_call": lambda: log.tool_call("search", {"query": "flights", "limit": 3}),
        "structlog": lambda: logger.info("searched", query="flights", limit=3),
    }


def own_frames(call: Callable[[], object]) -> list[str]:
    """Return the functions of Wakelog's that run in this thread for a usual record, in order."""
    frames: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OWN):
            frames.append(f"{Path(code.co_filename).stem}.{code.co_qualname}")

    records = []
    for _ in range(RECORDS):
        frames = []
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
        records.append(frames)
    # Now and then one does more: the first, or one that looks at the directory.
    return sorted(records, key=len)[RECORDS // 2]


if __name__ == "__main__":
    log = wakelog.configure("clerk", directory=sys.argv[1])
    sys.stdout.write(json.dumps({door: own_frames(call) for door, call in doors(log).items()}))
