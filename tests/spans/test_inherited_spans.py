"""Spans that are open when their process forks: what a child still ends is not also of unknown outcome."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.waiting import until
from wakelog.cli import main
from wakelog.journal import (
    Journal,
    Space,
    are_inherited,
    folders,
    inherit,
    may_end_spans,
    open_spans,
)
from wakelog.journal._open_spans import are_ended
from wakelog.otel import DurableSpanProcessor
from wakelog.record import SPANS
from wakelog.runtime import FileLock

# The program becomes a daemon, which does what it reads on its standard input.
DAEMON = """
import os, sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.otel import DurableSpanProcessor

directory, forks, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
processor = DurableSpanProcessor(None, directory=directory, pipeline="p")
provider = TracerProvider(
    resource=Resource({"service.name": "shop"}), shutdown_on_exit=way == "exit"
)
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
spans = {"first": tracer.start_span("first"), "second": tracer.start_span("second")}
for _ in range(forks):
    if os.fork():
        sys.exit() if way == "exit" else os._exit(0)
print(os.getpid(), flush=True)
for line in sys.stdin:
    spans[line.strip()].end()
    print("ended", flush=True)
"""


class Daemon(NamedTuple):
    """A program that has forked, and the process that goes on."""

    program: subprocess.Popen[str]
    process: int
    directory: Path

    def end(self, name: str) -> None:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{name}\n")
        self.program.stdin.flush()
        assert self.program.stdout.readline() == "ended\n"

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        until(lambda: not any(map(may_end_spans, folders(self.directory))), "the end of the daemon")


def start(directory: Path, forks: int = 1, way: str = "_exit") -> Daemon:
    command = [sys.executable, "-c", DAEMON, str(directory), str(forks), way]
    program = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert program.stdout is not None
    process = int(program.stdout.readline())
    assert program.wait(60) == 0
    return Daemon(program, process, directory)


@pytest.fixture
def daemon(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    started = start(tmp_path, *getattr(request, "param", ()))
    with started.program:  # which closes its input, so that the daemon ends
        yield started


def exported(directory: Path) -> list[tuple[str, Any]]:
    """What the next process of the service exports, with the outcome of each span."""
    hop = InMemorySpanExporter()
    DurableSpanProcessor(
        hop, directory=directory, pipeline="p", resource=Resource({"service.name": "shop"})
    ).shutdown()
    return sorted(
        (span.name, (span.attributes or {}).get("wakelog.span.outcome"))
        for span in hop.get_finished_spans()
    )


@pytest.mark.parametrize(
    "daemon", [(1, "_exit"), (2, "_exit"), (1, "exit"), (2, "exit")], indirect=True
)
def test_a_span_that_a_daemon_ends_is_exported_once_with_its_own_end(
    daemon: Daemon, tmp_path: Path
) -> None:
    [folder] = folders(tmp_path)
    assert exported(tmp_path) == []
    assert not are_ended(folder)

    daemon.end("first")
    daemon.end("second")
    # With two forks, the process between may still be ending.
    until(lambda: not are_inherited(folder), "the child to leave the spans")
    daemon.kill()

    assert exported(tmp_path) == [("first", None), ("second", None)]
    assert exported(tmp_path) == []


def test_a_span_that_a_daemon_has_not_ended_gets_an_unknown_end_when_it_dies(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.end("first")
    assert exported(tmp_path) == []

    daemon.kill()

    assert exported(tmp_path) == [("first", None), ("second", "unknown")]


def test_starts_that_a_daemon_has_inherited_are_kept_until_it_dies(
    daemon: Daemon, tmp_path: Path
) -> None:
    [folder] = folders(tmp_path)
    assert exported(tmp_path) == []
    journal = Journal(tmp_path, pipeline="p", signal=SPANS, space=Space(retention_age=0))

    journal.clean_up()
    assert len(open_spans(folder).starts) == 2
    daemon.kill()
    assert exported(tmp_path) == [("first", "unknown"), ("second", "unknown")]
    journal.clean_up()

    assert folder not in folders(tmp_path)
    journal.close()


def test_status_says_that_a_span_of_a_daemon_is_open(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["status", str(tmp_path)])
    assert "2 spans of" in (said := capsys.readouterr().out)
    assert "are open" in said

    daemon.kill()

    main(["status", str(tmp_path)])
    assert "did not end before their process did" in capsys.readouterr().out


def test_a_child_waits_for_a_process_that_only_looks(tmp_path: Path) -> None:
    (tmp_path / "inherited").touch()
    looking = FileLock.take(tmp_path / "inherited")
    assert looking is not None
    looks_away = threading.Timer(0.01, looking.release)
    looks_away.start()

    descriptor = inherit(tmp_path)

    looks_away.join()
    assert descriptor >= 0
    assert are_inherited(tmp_path)
    os.close(descriptor)
    assert not are_inherited(tmp_path)
