"""Processes that are stopped between their calls and killed while they are: AWS Lambda does so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.collector import Collector
from tests.support.waiting import until
from wakelog.journal import books

FUNCTION = """
import json, sys
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.otel import DurableSpanProcessor

directory, endpoint = sys.argv[1:]
resource = Resource({"service.name": "shop"})
# Its thread is to deliver nothing by itself, as if it were stopped each time before.
processor = DurableSpanProcessor(
    OTLPSpanExporter(endpoint, timeout=1), directory=directory, resource=resource,
    pipeline="p", schedule_delay_millis=3_600_000,
)
provider = TracerProvider(resource=resource, shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("t")
for line in sys.stdin:
    name, flushes, ends = json.loads(line)
    span = tracer.start_span(name)
    if ends:
        span.end()
    print(json.dumps(processor.force_flush(20_000) if flushes else None), flush=True)
"""


class Environment:
    """An environment that is frozen but for its invocations."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FUNCTION, str(directory), endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def invoke(self, name: str, *, flushes: bool = True, ends: bool = True) -> object:
        """Run one invocation, and return what flushing answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(json.dumps([name, flushes, ends]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        os.kill(self._process.pid, signal.SIGSTOP)
        return answer

    def end(self) -> None:
        """End it while it is frozen."""
        self._process.kill()
        self._process.communicate(timeout=60)


def test_what_is_flushed_is_delivered_and_the_next_environment_delivers_the_rest(
    tmp_path: Path, collector: Collector
) -> None:
    directory, endpoint = tmp_path / "journal", f"{collector.http_endpoint}/v1/traces"
    first, beside = Environment(directory, endpoint), Environment(directory, endpoint)
    for number in range(3):
        assert first.invoke(f"flushed {number}") is True
    assert {span.name for span in collector.spans()} == {f"flushed {n}" for n in range(3)}
    first.invoke("not flushed", flushes=False)
    first.invoke("cut off", flushes=False, ends=False)
    # It takes nothing from one that is frozen and not gone.
    assert beside.invoke("beside") is True
    assert "not flushed" not in {span.name for span in collector.spans()}
    first.end()
    beside.end()

    after = Environment(directory, endpoint)
    wanted = {*(f"flushed {n}" for n in range(3)), "not flushed", "cut off", "beside", "after"}

    def is_delivered() -> bool:
        after.invoke("after")
        return wanted <= {span.name for span in collector.spans()}

    until(is_delivered, "what was left")
    after.end()
    outcomes = {s.name: s.attributes.get("wakelog.span.outcome") for s in collector.spans()}
    assert outcomes.pop("cut off") == "unknown"
    assert set(outcomes.values()) == {None}
    assert max(Counter(span.span_id for span in collector.spans()).values()) == 1
    assert all(one.corrupt == 0 for one in books(directory))
