"""Calls to objects of the user and of libraries: spans, tracers and processors.

An exception in such a call does not affect the record or the program. It is counted, and logged
once in a burst.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from wakelog.delivery import suppress_recording
from wakelog.runtime import Burst, ForkOrder, let_through, reset_in_child

Answer = TypeVar("Answer")

_log = logging.getLogger("wakelog")


class Refusals:
    """Counts failures that are not raised to any caller.

    The first one is logged at once, and then the number at most once a minute.

    Args:
        what: The noun for the failures, in the plural.

    Attributes:
        counts: Numbers of failures by the error's name.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._burst = Burst()

    def note(self, error: BaseException, *, hint: str = "") -> None:
        """Count a failure.

        Args:
            error: The error.
            hint: Advice, if the error has none.
        """
        let_through(error)
        with self._lock:
            self.counts[type(error).__name__] += 1
            if not self._burst.is_due():
                return
            total = self.counts.total()
        with suppress_recording():
            _log.error(
                "%s so far: %d, the last one because: %s: %s%s",
                self._what,
                total,
                type(error).__name__,
                error,
                hint,
            )


failures = Refusals(
    "calls into spans, tracers or providers of others that failed (records are kept)"
)

# Cache of the last context's span and its ids: a context never changes, and a span's ids are "the
# same for the entire Span lifetime" (trace API, "Get Context"). The references are weak, because it
# must not keep a span alive.
_last: tuple[Callable[[], object], Callable[[], Any], tuple[int, int, int]]
_last = (lambda: None, lambda: None, (0, 0, 0))
_ids_in: Callable[[Context], tuple[int, int, int] | None] | None = None


def take_ids_from(ids_in: Callable[[Context], tuple[int, int, int] | None]) -> None:
    """Set the compiled function that returns the ids of a context's span.

    Args:
        ids_in: Returns what ``span_context_of`` returns, or None if it does not know the span's
            class.
    """
    global _ids_in  # noqa: PLW0603 - set once, when the SDK's spans are known
    _ids_in = ids_in


def _getter() -> Callable[[], Context]:
    """Return a function that returns the current context.

    It is the method of the variable that holds it, which saves two calls of Python functions for each
    event; the API's own if contexts are kept in another way.
    """
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    if type(runtime) is not ContextVarsRuntimeContext:
        return otel_context.get_current
    probe = Context({"probe": True})
    token = otel_context.attach(probe)
    found = [one for one in vars(runtime).values() if type(one) is ContextVar]
    sure = len(found) == 1 and found[0].get() is probe
    otel_context.detach(token)
    return found[0].get if sure else otel_context.get_current


current_context: Final = _getter()
[_SPAN_KEY] = trace.set_span_in_context(trace.INVALID_SPAN, Context())


def context_with(span: trace.Span) -> Context:
    """Return the current context with another span, as ``trace.set_span_in_context`` does."""
    return Context({**current_context(), _SPAN_KEY: span})


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
        if context is not None:
            if _ids_in is not None and (compiled := _ids_in(context)) is not None:
                return compiled
            known, found, ids = _last  # the usual case of `span_of`, inlined as the next
            if known() is context and found() is not None:
                return ids
        return span_of(context)[1]
    except Exception as error:  # noqa: BLE001 - counted and logged: it is the user's object
        failures.note(error)
        return None


def span_of(context: Context | None) -> tuple[trace.Span, tuple[int, int, int] | None]:
    """Return the current span with its trace id, span id and flags, None if they are not valid.

    Args:
        context: The context; None for the current one.

    Raises:
        Exception: Anything that a span of another library raises.
    """
    global _last  # noqa: PLW0603 - one tuple, replaced whole, so threads see either
    known, found, ids = _last
    if context is not None and known() is context and (span := found()) is not None:
        return span, ids
    span = trace.get_current_span(context)
    span_context = span.get_span_context()
    if not span_context.is_valid:
        return span, None
    ids = int(span_context.trace_id), int(span_context.span_id), int(span_context.trace_flags)
    if context is not None:
        try:  # `suppress` would take as long as the lookup
            _last = weakref.ref(context), weakref.ref(span), ids
        except TypeError:  # a class with slots has no weak references
            return span, ids
    return span, ids
