"""A program that gevent or eventlet patches, before or after Wakelog is there, and that records in greenlets.

    python -m tests.support.patching_program LIBRARY WHEN DIRECTORY DOOR...

Each DOOR is one of `DOORS`, or `SDK` for the batch processor of OpenTelemetry's SDK. LIBRARY is `gevent` or `eventlet`.
WHEN is `first` (as their documentation wants it), `imported` (Wakelog was imported before), `made` (so was the
door) or `used` (and something was recorded). Something else ticks meanwhile, as other requests of a server do.

Each door has a child of its own, which is forked once everything is imported, as that takes far longer than the rest.
The door numbered N has the directory DIRECTORY/N, and what its child says is in DIRECTORY/N.out and DIRECTORY/N.err. `N CODE` is printed
once it has ended.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.front_doors import DOORS, IN_AN_EVENT_LOOP, Door, says

GREENLETS, RECORDS, SECONDS = 3, 10, 40
Greenlets = tuple[Callable[..., Any], Callable[[float], Any], Callable[[Any], Any]]
"""How to start a greenlet, sleep in one and wait for one."""
_PATCHES = {"gevent": "monkey", "eventlet": "patcher"}
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


# As they are before anything is patched.
_fork, _waitpid = os.fork, os.waitpid


def main() -> None:
    """Import and patch as far as all doors have that in common, and fork for each door."""
    library, when, directory, names = *sys.argv[1:3], Path(sys.argv[3]), sys.argv[4:]
    greenlets = _patch(library) if when == "first" else None
    # Being imported, neither library patches anything.
    for module in (*_MODULES, library, f"{library}.{_PATCHES[library]}"):
        importlib.import_module(module)
    for number, name in enumerate(names):
        if (child := _fork()) == 0:
            _say_in(directory / f"{number}.out", 1)
            _say_in(directory / f"{number}.err", 2)
            (directory / str(number)).mkdir()
            use(name, library, when, directory / str(number), greenlets)
            return
        status = _waitpid(child, 0)[1]
        says(f"{number} {os.waitstatus_to_exitcode(status)}")


def use(name: str, library: str, when: str, directory: Path, greenlets: Greenlets | None) -> None:
    """Patch, where that has not been done, record in greenlets, and end."""
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
    signal.alarm(SECONDS)
    make: Callable[[Path], Door] = SDK if name == "SDK" else DOORS[name]
    door: Door | None = None
    accepted: list[str] = []
    if when in ("made", "used"):
        door = make(directory)
    if when == "used" and door is not None:
        door.record("before")
        accepted.append("before")
    spawn, sleep, join = greenlets or _patch(library)
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


def _say_in(path: Path, stream: int) -> None:
    """Have this process print into a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, stream)
    os.close(file)


def _patch(library: str) -> Greenlets:
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
