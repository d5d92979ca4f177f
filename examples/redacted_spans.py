"""Spans of others, without secrets and without what people and models said.

    python examples/redacted_spans.py [--directory DIR]

The instrumentation below stands for one that somebody else wrote: it puts prompts and keys into
attributes. What is redacted or left out never reaches the journal, so it reaches no backend either.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from wakelog.journal import read
from wakelog.otel import DurableSpanProcessor, Redactor


def instrumented_call(tracer: Tracer) -> None:
    """Call a model, as an instrumentation of others records it."""
    with tracer.start_as_current_span("chat") as span:
        span.set_attribute("gen_ai.prompt.0.role", "user")
        span.set_attribute("gen_ai.prompt.0.content", "I am ann@example.com, where is my parcel?")
        span.set_attribute("http.request.header.authorization", "Bearer abcdefghijklmnop0123")
        span.set_attribute("gen_ai.usage.input_tokens", 17)


def main() -> None:
    """Record one span, and print what is on the disk of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("redacted-spans"))
    arguments = parser.parse_args()

    # The first rule that fits holds; the rest of what is known to be content is left out.
    redactor = Redactor({"gen_ai.prompt.*.role": "keep"}, content="drop")
    processor = DurableSpanProcessor(
        OTLPSpanExporter(), directory=arguments.directory, redact=redactor
    )
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(processor)

    instrumented_call(provider.get_tracer("of-others"))

    for entry in read(arguments.directory, signal="spans"):
        for name, value in entry.record.attributes.items():
            print(f"{name}: {value}")
    provider.shutdown()


if __name__ == "__main__":
    main()
