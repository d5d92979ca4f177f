"""A program that gevent or eventlet patches, before or after Wakelog is there, and that records in greenlets.

    python -m tests.support.patching_program DOOR LIBRARY WHEN DIRECTORY

DOOR is one of `DOORS`, or `SDK` for the batch processor of OpenTelemetry's SDK. LIBRARY is `gevent` or `eventlet`.
WHEN is `first` (as their documentation wants it), `imported` (Wakelog was imported before), `made` (so was the
door) or `used` (and something was recorded). Something else ticks meanwhile, as other requests of a server do.
"""

from __future__ import annotations

import faulthandler
import importlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.front_doors import DOORS, IN_AN_EVENT_LOOP, Door, says

GREENLETS, RECORDS, SECONDS = 3, 10, 40
_MODULES = ("wakelog.otel", "wakelog.gateway", "wakelog.audit", "wakelog.streams")


class SDK:
    """The SDK's batch processor, with an exporter that keeps what it is given."""

    def __init__(self, directory: Path) -> None:
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import (
            BatchLogRecordProcessor,
            InMemoryLogRecordExporter,
        )

        self._exporter = InMemoryLogRecordExporter()
        self._provider = LoggerProvider(shutdown_on_exit=False)
        processor = BatchLogRecordProcessor(self._exporter, schedule_delay_millis=100)
        self._provider.add_log_record_processor(processor)
        self._directory = directory

    def record(self, text: str) -> None:
        self._provider.get_logger("patching").emit(body=text)

    def close(self) -> None:
        self._provider.force_flush()
        self._provider.shutdown()
        exported = self._exporter.get_finished_logs()
        texts = [str(one.log_record.body) for one in exported]
        (self._directory / "exported.txt").write_text("\n".join(texts))


def main() -> None:
    """Patch, record in greenlets, and end."""
    name, library, when, directory = *sys.argv[1:4], Path(sys.argv[4])
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
    signal.alarm(SECONDS)
    make: Callable[[Path], Door] = SDK if name == "SDK" else DOORS[name]
    door: Door | None = None
    accepted: list[str] = []
    if when != "first":
        for module in _MODULES:
            importlib.import_module(module)
    if when in ("made", "used"):
        door = make(directory)
    if when == "used" and door is not None:
        door.record("before")
        accepted.append("before")
    spawn, sleep, join = _patch(library)
    if door is None:
        door = make(directory)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            sleep(0.001)
            ticks += 1

    def work(number: int) -> None:
        for step in range(RECORDS):
            text = f"greenlet{number} {step}"
            door.record(text)
            accepted.append(text)
            sleep(0.005)

    spawn(tick)
    for worker in [
        spawn(work, number) for number in range(1 if name in IN_AN_EVENT_LOOP else GREENLETS)
    ]:
        join(worker)
    assert ticks, "nothing else has run"
    door.close()
    says("\n".join([*(f"accepted {text}" for text in accepted), "closed"]))


def _patch(library: str) -> tuple[Callable[..., Any], Callable[[float], Any], Callable[[Any], Any]]:
    """Patch the process; return how to start a greenlet, sleep in one and wait for one."""
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
        import gevent

        return gevent.spawn, gevent.sleep, lambda greenlet: greenlet.get()
    import eventlet

    eventlet.monkey_patch()
    return eventlet.spawn, eventlet.sleep, lambda greenlet: greenlet.wait()


if __name__ == "__main__":
    main()
