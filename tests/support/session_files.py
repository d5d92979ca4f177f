"""What tests of the gateway share: recording events, and the lines of a session's files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from wakelog.gateway import EventSessionLogger


def log_all(logger: EventSessionLogger, *events: object) -> list[bool]:
    async def run() -> list[bool]:
        async with logger:
            return [await logger(event) for event in events]

    return asyncio.run(run())


def lines_of(directory: Path) -> list[dict[str, Any]]:
    found = sorted(directory.glob("*.jsonl"))
    return [json.loads(line) for file in found for line in file.read_bytes().splitlines()]
