"""Calls to objects of the user and of libraries: spans, tracers and processors.

An exception in such a call does not affect the record or the program. It is counted, and logged
once in a burst.
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
    """Return the result of a call to an object of the user or of a library.

    Args:
        call: The call.
        otherwise: The return value if the call raises an exception.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - counted and logged: it is the user's object
        failures.note(error)
        return otherwise


def span_context_of(context: Context | None = None) -> tuple[int, int, int] | None:
    """Return trace id, span id and trace flags of the current span, None without a valid one."""
    try:  # inlined from `asked`, because every record comes through here
        span_context = trace.get_current_span(context).get_span_context()
        if not span_context.is_valid:
            return None
        return int(span_context.trace_id), int(span_context.span_id), int(span_context.trace_flags)
    except Exception as error:  # noqa: BLE001 - counted and logged: it is the user's object
        failures.note(error)
        return None
