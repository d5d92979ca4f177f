"""A program that records spans, and one that gives them their missing ends, to be killed anywhere.

It reads lines of `[DIRECTORY, ROLE, FAULT, OUTPUT]` in JSON, does each in a process of its own that writes to
the file OUTPUT, and answers with its exit code, as `journal_program` does. The role `fsync` or `os_buffered` records
with that durability and ends by `os._exit` amid its spans; `recover` does what the next process of the service does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, Tracer, set_span_in_context

from tests.support.faults import with_fault
from wakelog.delivery import _thread
from wakelog.otel import DurableSpanProcessor
from wakelog.runtime import SYSTEM

RESOURCE = Resource({"service.name": "shop"})
TREES = 3


def say(word: str, span_id: int, more: str = "") -> None:
    """Tell the reader, before anything else happens."""
    os.write(1, f"{word} {span_id:016x} {more}".rstrip().encode() + b"\n")


class Ids(RandomIdGenerator):
    """Says the id of a span before it starts."""

    def generate_span_id(self) -> int:
        span_id = super().generate_span_id()
        say("tried", span_id)
        return span_id


class Saying(SpanExporter):
    """Says what it sends."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            assert span.context is not None
            outcome = (span.attributes or {}).get("wakelog.span.outcome", "known")
            say("sent", span.context.span_id, str(outcome))
        return SpanExportResult.SUCCESS


def start(tracer: Tracer, name: str, parent: Span | None = None) -> Span:
    """Start a span, and say so."""
    context = None if parent is None else set_span_in_context(parent)
    span = tracer.start_span(name, context, attributes={"question": "why" * 10})
    say("started", span.get_span_context().span_id)
    return span


def end(span: Span) -> None:
    """End a span, and say so."""
    say("ending", span.get_span_context().span_id)
    span.end()
    say("ended", span.get_span_context().span_id)


def work(directory: str, durability: str) -> None:
    """Record trees of spans over several segments, and leave some open."""
    processor = DurableSpanProcessor(
        None, directory=directory, pipeline="p", segment_bytes=1800, durability=durability
    )
    provider = TracerProvider(resource=RESOURCE, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    run = start(tracer, "run")
    for number in range(TREES):
        call = start(tracer, f"call {number}", run)
        end(start(tracer, f"tool {number}", call))
        if number:
            end(call)


def recover(directory: str) -> None:
    """Deliver what processes that are gone have left, and give spans their missing ends."""
    os.environ["WAKELOG_EXIT_ANSWER_TIMEOUT"] = "60"
    _thread._LEFTOVERS_SECONDS = 60.0
    processor = DurableSpanProcessor(
        Saying(), directory=directory, pipeline="p", resource=RESOURCE, segment_bytes=1800
    )
    processor.shutdown(60_000)


def serve() -> None:
    """Play a part for each line that comes, each in a process of its own."""
    for line in sys.stdin:
        directory, role, fault, output = json.loads(line)
        if (pid := os.fork()) == 0:
            code = 1
            try:
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
                if fault:
                    # It is the default of many functions, so it is changed and not replaced.
                    operation = fault.split(":")[1]
                    faulty = with_fault(SYSTEM, fault)
                    setattr(SYSTEM, operation, getattr(faulty, operation))
                if role == "recover":
                    recover(directory)
                else:
                    work(directory, role)
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
