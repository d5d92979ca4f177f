"""Calls into code of others inside ours: their spans, tracers and processors.

What they raise costs what they were asked for and nothing else: the record is recorded, and the program
goes on. It is counted, and said once in a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.context import Context

from wakelog.otel._refusals import Refusals

Answer = TypeVar("Answer")

failures = Refusals(
    "calls into spans, tracers or providers of others that failed (records are kept)"
)


def asked(call: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Return what a call into code of others answers.

    Args:
        call: The call.
        otherwise: What to return when it raises.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - counted and said: it is somebody else's
        failures.note(error)
        return otherwise


def span_context_of(context: Context | None = None) -> tuple[int, int, int] | None:
    """Return trace id, span id and trace flags of the span that is running, None without any."""
    try:  # as in `asked`, but for a call in the path of every record
        span_context = trace.get_current_span(context).get_span_context()
        if not span_context.is_valid:
            return None
        return int(span_context.trace_id), int(span_context.span_id), int(span_context.trace_flags)
    except Exception as error:  # noqa: BLE001 - counted and said: it is somebody else's
        failures.note(error)
        return None
