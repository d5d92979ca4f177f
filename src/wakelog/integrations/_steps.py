"""``Steps``: runs, model calls and tool calls of a framework that reports their start and end."""

from __future__ import annotations

import copy
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace

from wakelog import context
from wakelog.integrations._recorder import Recorder
from wakelog.logger import AgentLogger, Block, CountedOnly

_log = logging.getLogger("wakelog")

_MOST_OPEN: Final = 10_000
_BOUND: Final = (
    context.run_id,
    context.parent_id,
    context.agent,
    context.workflow,
    context.session_id,
)


# Which `Steps` has warned, once in a process, that another instrumentation creates spans, too.
_told: dict[tuple[str, str], object] = {}


class Instrumentor(NamedTuple):
    """Another instrumentation that creates spans of the same calls.

    Attributes:
        module: Its module.
        name: Its class, a ``BaseInstrumentor``.
    """

    module: str
    name: str


class OpenStep:
    """An open run, model call or tool call.

    Attributes:
        block: The block that records it.
        context: The context inside it.
        parent: The enclosing step.
        children: The keys of the open steps inside it.
    """

    __slots__ = ("block", "children", "context", "parent")

    def __init__(self, block: Block[Any], context: Context, parent: OpenStep | None) -> None:
        self.block, self.context, self.parent = block, context, parent
        self.children: dict[object, None] = {}


class Guard:
    """Counts the exception of a ``with`` block, and suppresses it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace_back: object) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._recorder.refuse(type(error).__name__, error)
        return True


class Steps:
    """Records what a framework's callbacks report, and never raises in them.

    A callback may run in any thread, task and context, so each open step has a context of its own,
    derived from that of the enclosing step. The blocks of ``AgentLogger`` do the recording. Budgets
    count these steps, but are not enforced.

    Args:
        log: The logger; as for ``Recorder``.
        spans: Whether to open spans; if not, events belong to the current spans.
        framework: The name of the framework, for the log.
        others: The instrumentations that create spans of the same calls.

    Raises:
        TypeError: If the logger is not an ``AgentLogger``.
    """

    def __init__(
        self,
        log: AgentLogger | None,
        *,
        spans: bool,
        framework: str,
        others: Sequence[Instrumentor] = (),
    ) -> None:
        if log is not None and not isinstance(log, AgentLogger):
            message = (
                f"log must be an AgentLogger, not {type(log).__name__}; leave it out to record where "
                "wakelog.configure() says"
            )
            raise TypeError(message)
        self._recorder = Recorder(log)
        self.refused = self._recorder.refused
        """The number of steps and events that were not recorded, by reason."""
        self._spans, self._framework, self._others = spans, framework, others
        self._guard = Guard(self._recorder)
        self._open: dict[object, OpenStep] = {}
        self._without_spans: tuple[AgentLogger, AgentLogger] | None = None
        self._looked = False
        # Steps that nothing else will end; garbage collection adds to it, so it has no lock.
        self._abandoned: deque[tuple[object, Callable[[Any], object]]] = deque()

    def open(
        self, key: object, parent: OpenStep | None, make: Callable[[AgentLogger], Block[Any]]
    ) -> OpenStep | None:
        """Record the start of a step; it is on disk when this returns.

        Args:
            key: The key for ``end``.
            parent: The enclosing step; None for the caller's context.
            make: Creates its block.

        Returns:
            The step, None if it could not be recorded.
        """
        self._end_abandoned()
        try:
            if (log := self._logger()) is None:
                return None
            if parent is None:
                self.beside(None)
            here = copy_context() if parent is None else parent.context.copy()
            block = make(log)
            here.run(_enter, block, None if self._spans else otel_context.get_current())
        except Exception as error:  # noqa: BLE001 - the user's agent must go on: count, report
            self._recorder.refuse(type(error).__name__, error)
            return None
        step = OpenStep(block, here, parent)
        if parent is not None:
            parent.children[key] = None
        if len(self._open) >= _MOST_OPEN:
            self._forget_oldest()
        self._open[key] = step
        return step

    def get(self, key: object) -> OpenStep | None:
        """Return an open step."""
        return self._open.get(key)

    def end(
        self,
        key: object,
        error: BaseException | None = None,
        note: Callable[[Any], object] | None = None,
    ) -> None:
        """Record the end of a step, and of the steps that are still open inside it, as cancelled.

        Args:
            key: The key from ``open``. A key that is not open is ignored.
            error: The exception that ended it; a ``GeneratorExit`` if it was abandoned.
            note: Sets the outcome on the block.
        """
        if (step := self._open.pop(key, None)) is None:
            return
        for child in list(step.children):
            self.end(child, GeneratorExit() if error is None else error)
        if step.parent is not None:
            step.parent.children.pop(key, None)
        try:
            try:
                if note is not None:
                    note(step.block)
            finally:
                step.context.run(step.block.__exit__, None, error, None)
        except Exception as failure:  # noqa: BLE001 - as in `open`
            self._recorder.refuse(type(failure).__name__, failure)

    def abandon(self, key: object, note: Callable[[Any], object]) -> None:
        """End a step, as cancelled, when the next step or event is recorded; for ``__del__``."""
        if key in self._open:
            self._abandoned.append((key, note))

    def _end_abandoned(self) -> None:
        while self._abandoned:
            try:
                key, note = self._abandoned.popleft()
            except IndexError:  # another thread has taken it
                return
            self.end(key, GeneratorExit(), note)

    def event(
        self, event_type: str, payload: dict[str, Any], at: OpenStep | None, **fields: Any
    ) -> None:
        """Record an event.

        Args:
            event_type: Its type.
            payload: Its content.
            at: The step to which it belongs; None for the caller's context.
            fields: As for every event.
        """
        self._end_abandoned()
        try:
            if (log := self._logger()) is not None:
                here = copy_context() if at is None else at.context.copy()
                here.run(_emit, log, event_type, payload, fields)
        except Exception as error:  # noqa: BLE001 - as in `open`
            self._recorder.refuse(type(error).__name__, error)

    def guarded(self) -> Guard:
        """Return a context manager that counts and suppresses exceptions of others' objects."""
        return self._guard

    def _logger(self) -> AgentLogger | None:
        log = self._recorder.logger()
        if log is None or self._spans:
            return log
        if self._without_spans is None or self._without_spans[0] is not log:
            plain = copy.copy(log)
            plain.tracer_provider = trace.NoOpTracerProvider()
            self._without_spans = log, plain
        return self._without_spans[1]

    def beside(self, other: str | None) -> None:
        """Warn once in a process that another instrumentation creates spans of the same calls, too.

        Args:
            other: Its name; None for any of the known instrumentations that is active.
        """
        if self._looked or not self._spans:
            return
        self._looked = True
        other = other or _instrumented(self._others)
        if other and _told.setdefault((self._framework, other), self) is self:
            _log.warning(
                "%s is recorded twice as spans: by Wakelog and by %s. Set spans=False to keep only "
                "the other's spans, or disable the other",
                self._framework,
                other,
            )

    def _forget_oldest(self) -> None:
        """End the oldest open step: a framework that ends no steps must not fill the memory."""
        if (oldest := next(iter(self._open), None)) is not None:
            self.end(oldest, GeneratorExit())


class within:  # noqa: N801 - it is called like a function
    """Apply a step's context to the caller's context, for a ``with`` block.

    Args:
        step: The step; with None, the block changes nothing.
    """

    __slots__ = ("_attached", "_step", "_tokens")

    def __init__(self, step: OpenStep | None) -> None:
        self._step = step

    def __enter__(self) -> None:
        if self._step is None:
            return
        inside = self._step.context
        # Setting a variable takes time, and usually only the parent differs.
        self._tokens = [
            variable.set(value)
            for variable in _BOUND
            if (value := inside.get(variable)) is not variable.get()
        ]
        self._attached = otel_context.attach(inside.run(otel_context.get_current))

    def __exit__(self, *_: object) -> None:
        if self._step is None:
            return
        here = True
        for token in reversed(self._tokens):
            here &= context.unset(token)
        if here:
            otel_context.detach(self._attached)


class around:  # noqa: N801 - it is called like a function
    """Record a call, for a ``with`` block in which it is made; the value is the key of its step.

    An exception ends the step. After the block, the caller ends it with the result.

    Args:
        steps: What records it.
        make: Makes the block, as for ``Steps.open``; None if the call is not recorded.
    """

    __slots__ = ("_key", "_make", "_steps", "_within")

    def __init__(self, steps: Steps, make: Callable[[AgentLogger], Block[Any]] | None) -> None:
        self._steps, self._make, self._key = steps, make, object()

    def __enter__(self) -> object:
        make = self._make
        self._within = within(None if make is None else self._steps.open(self._key, None, make))
        self._within.__enter__()
        return self._key

    def __exit__(self, kind: object, error: BaseException | None, trace_back: object) -> None:
        self._within.__exit__()
        if error is not None:
            self._steps.end(self._key, error)


def _enter(block: Block[Any], outer: otel_context.Context | None) -> None:
    if outer is not None:
        otel_context.attach(outer)
    spending = context.spending.get()
    if spending is not None and type(spending) is not CountedOnly:
        context.spending.set(CountedOnly(spending))
    block.__enter__()


def _emit(log: AgentLogger, event_type: str, payload: dict[str, Any], fields: Any) -> None:
    log.emit(event_type, payload, **fields)


def _instrumented(others: Sequence[Instrumentor]) -> str | None:
    """Return the first other instrumentation that is active."""
    for module, name in others:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and getattr(kind(), "is_instrumented_by_opentelemetry", False):
            return f"{module}.{name}"
    return None


def resource_of(client: Any, path: str) -> Any:
    """Return the object of a client that has a method, None if this client lacks it.

    Args:
        client: The client.
        path: The path of the method: ``chat.completions.create``.
    """
    *names, name = path.split(".")
    at = client
    for one in names:
        at = getattr(at, one, None)
    return at if callable(getattr(at, name, None)) else None
