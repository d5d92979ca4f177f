"""`wakelog show` lists the spans of others whose end nobody has seen, and those that are open."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wakelog.cli import main
from wakelog.journal import books
from wakelog.otel import DurableSpanProcessor

KILLED = """
import os, signal, sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.otel import DurableSpanProcessor

provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
provider.add_span_processor(DurableSpanProcessor(None, directory=sys.argv[1], pipeline="p"))
tracer = provider.get_tracer("of-others", "1")
tracer.start_span("ended").end()
provider.get_tracer("wakelog").start_span("a step of the tree")
for number in range(int(sys.argv[2])):
    tracer.start_span(f"call {number} of \\x1b[31m")
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_program(directory: Path, calls: int) -> None:
    command = [sys.executable, "-c", KILLED, str(directory), str(calls)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL


def shown(directory: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    capsys.readouterr()
    assert main(["show", str(directory), *flags]) == 0
    return capsys.readouterr().out


def spans_in(directory: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shown(directory, capsys, "--json"))["spans"]
    return found


def recover(directory: Path) -> DurableSpanProcessor:
    processor = DurableSpanProcessor(
        InMemorySpanExporter(),
        directory=directory,
        pipeline="p",
        resource=Resource({"service.name": "shop"}),
    )
    processor.shutdown()
    return processor


def test_show_says_of_a_span_that_it_is_open_left_or_of_unknown_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_a_program(tmp_path, 2)

    text = shown(tmp_path, capsys)
    assert "No event is recorded in" in text
    assert "Spans of others that are open or of unknown outcome: 2" in text
    assert text.count("without an end; its process is gone") == 2
    assert "a step of the tree" not in text
    assert "ended" not in [span["name"] for span in spans_in(tmp_path, capsys)]
    assert "\x1b" not in text

    recover(tmp_path)

    before = {span["span_id"]: span for span in spans_in(tmp_path, capsys)}
    assert len(before) == 2
    for span in before.values():
        assert span["state"] == "outcome unknown (process gone)"
        assert span["reason"] == "process_gone"
        assert span["scope"] == "of-others"
        assert span["ended"] >= span["started"]

    processor = DurableSpanProcessor(None, directory=tmp_path, pipeline="p")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    stream = provider.get_tracer("of-others").start_span("stream")
    newest = spans_in(tmp_path, capsys)[0]
    assert (newest["name"], newest["state"], newest["ended"]) == ("stream", "open", None)
    stream.end()
    processor.shutdown()
    assert {one["span_id"] for one in spans_in(tmp_path, capsys)} == before.keys()


def test_show_lists_the_newest_of_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_a_program(tmp_path, 30)
    recover(tmp_path)
    assert all(not one.pending for one in books(tmp_path))

    lines = shown(tmp_path, capsys).splitlines()
    [heading] = [n for n, line in enumerate(lines) if line.startswith("Spans of others")]
    assert lines[heading].endswith(": 30")
    assert len(lines) == heading + 22
    assert "call 29" in lines[heading + 1]
    assert lines[-1] == "  and 10 older ones; --json has them all"


def test_filters_show_events_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_a_program(tmp_path, 1)
    code = (
        "import sys, wakelog; log = wakelog.configure('a', service_name='shop', directory=sys.argv[1])\n"
        "with log.run(run_id='r'):\n    log.decision('go')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)

    text = shown(tmp_path, capsys)
    assert "decision  go" in text
    assert "call 0" in text
    assert "call 0" not in shown(tmp_path, capsys, "--run", "r")
    assert json.loads(shown(tmp_path, capsys, "--run", "r", "--json"))["spans"] == []
