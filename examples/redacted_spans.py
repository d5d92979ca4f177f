"""Spans of another library, without secrets and without content.

    python examples/redacted_spans.py [--directory DIR]

The instrumentation below stands in for a third-party one: it writes prompts and keys into attributes.
Redacted and dropped values never reach the journal, so they reach no backend either.
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
    """Call a model, and record it as a third-party instrumentation does."""
    with tracer.start_as_current_span("chat") as span:
        span.set_attribute("gen_ai.prompt.0.role", "user")
        span.set_attribute("gen_ai.prompt.0.content", "I am ann@example.com, where is my parcel?")
        span.set_attribute("http.request.header.authorization", "Bearer abcdefghijklmnop0123")
        span.set_attribute("gen_ai.usage.input_tokens", 17)


def main() -> None:
    """Record one span, and print its line on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("redacted-spans"))
    arguments = parser.parse_args()

    # The first matching rule applies; all other known content is dropped.
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
