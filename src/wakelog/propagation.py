"""Context across threads and processes: ``propagate``, and carriers for everything else.

Propagated are the fields of every event inside a block (run, session, agent, workflow, tenant,
parent event, and attributes that ``bound`` has set) and OpenTelemetry's context, so that runs and
spans in the other thread or process are children of those in this one.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import Context, Token, copy_context
from typing import Any, ParamSpec, TypeVar, cast, overload

from opentelemetry import context as otel_context
from opentelemetry import propagate as otel_propagate

from wakelog import context
from wakelog.context import CARRIER
from wakelog.record import from_line, to_line

_log = logging.getLogger("wakelog")

P = ParamSpec("P")
R = TypeVar("R")

_PARENT, _ATTRIBUTES = "parent_id", "attributes"
_LONGEST, _MOST_READ = 16_384, 65_536


def carrier() -> dict[str, str]:
    """Return the current context as environment variables for another program.

    Returns:
        ``WAKELOG_CONTEXT``, and the variables of OpenTelemetry's propagators, such as
        ``TRACEPARENT``; each only if it has a value. For ``subprocess``:
        ``env={**os.environ, **carrier()}``.
    """
    return {_as_variable(name): value for name, value in headers().items()}


def headers() -> dict[str, str]:
    """Return the current context as headers of a message."""
    found: dict[str, str] = {}
    otel_propagate.inject(found)
    said: dict[str, Any] = {
        name: value for name in context.FIELDS if (value := context.field_of(name)) is not None
    }
    if (parent := context.parent_id.get()) is not None:
        said[_PARENT] = parent
    if attributes := context.bound_attributes():
        said[_ATTRIBUTES] = to_line(attributes)
    if said:
        found[CARRIER.lower()] = _written(said)
    return found


def _written(said: dict[str, Any]) -> str:
    """Return the fields as ASCII JSON for a header, without the attributes if it is too large."""
    text = json.dumps(said)
    if len(text) > _LONGEST and said.pop(_ATTRIBUTES, None) is not None:
        text = json.dumps(said)
        _log.warning(
            "the attributes that bound() has set are not propagated to other processes, because "
            "the context would be longer than %d bytes",
            _LONGEST,
        )
    return text


@contextmanager
def carried(carrier: Mapping[str, str] | None = None) -> Iterator[None]:
    """Applies the context of a carrier inside the block.

    Args:
        carrier: The result of ``carrier`` or ``headers`` elsewhere; the environment by default.

    Yields:
        Nothing. An empty carrier changes nothing; an unreadable one is logged.
    """
    tokens, attached = _attach(os.environ if carrier is None else carrier)
    try:
        yield
    finally:
        for token in reversed(tokens):
            context.unset(token)
        if attached is not None:
            otel_context.detach(attached)


def adopt_environment() -> None:
    """Apply the context of the environment from now on, unless a run is open."""
    if CARRIER in os.environ and context.run_id.get() is None and context.parent_id.get() is None:
        _attach(os.environ)


@overload
def propagate(target: Executor) -> Executor: ...


@overload
def propagate(target: Callable[P, R]) -> Callable[P, R]: ...


def propagate(target: Any) -> Any:
    """Propagate the current context to a function that will run in another thread or process.

    Args:
        target: A function, for ``threading.Thread``, ``run_in_executor``,
            ``multiprocessing.Process`` and the like; it can be pickled if the function can. Or an
            executor.

    Returns:
        A function that runs in a copy of the context of this call; it may be called many times,
        also concurrently. For an executor, one that submits to it, and runs each call in a copy of
        the context in which it was submitted.

    Raises:
        TypeError: If the target is neither.
    """
    if isinstance(target, Executor):
        return _PropagatingExecutor(target)
    if not callable(target):
        message = f"{target!r} is neither a function nor an executor"
        raise TypeError(message)
    if inspect.iscoroutinefunction(target):
        return _carried_coroutine(target)
    return _Carried(target)


class _Carried:
    """A function with a context: a copy of it in this process, its headers in another process."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._context: Context | None = copy_context()
        self._carrier: dict[str, str] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function in its context."""
        if self._context is not None:
            return self._context.copy().run(self._function, *args, **kwargs)
        with carried(self._carrier or {}):
            return self._function(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Return the pickled state: the function by name, and headers in place of the context."""
        of = self._context
        return {
            "_function": self._function,
            "_context": None,
            "_carrier": self._carrier if of is None else of.copy().run(headers),
        }


def _carried_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    held = copy_context().run(headers)

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with carried(held):
            return await function(*args, **kwargs)

    return call


class _PropagatingExecutor(Executor):
    """Submits to another executor, and runs each call in the context in which it was submitted."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit a call."""
        function: Callable[..., R] = fn
        if not isinstance(fn, _Carried) and not inspect.iscoroutinefunction(fn):
            crosses = _has_processes(self._executor)
            function = _Carried(fn) if crosses else functools.partial(copy_context().run, fn)
        return self._executor.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class's
        """Shut down the other executor."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


def _has_processes(executor: Executor) -> bool:
    # Importing its module loads multiprocessing; a program with such an executor has imported it.
    module = sys.modules.get("concurrent.futures.process")
    return module is not None and isinstance(executor, module.ProcessPoolExecutor)


def _attach(
    carrier: Mapping[str, str],
) -> tuple[list[Token[Any]], Token[otel_context.Context] | None]:
    said = _read(_value(carrier, CARRIER))
    tokens: list[Token[Any]] = []
    if said:
        attributes = said.pop(_ATTRIBUTES, None)
        parent = said.pop(_PARENT, None)
        fields: dict[str, Any] = {
            name: value for name in context.FIELDS if type(value := said.get(name)) is str
        }
        if isinstance(attributes, dict):
            fields = {**cast("dict[str, Any]", from_line(attributes)), **fields}
        tokens = context.bind(fields)
        if type(parent) is str:
            tokens.append(context.parent_id.set(parent))
    theirs = {
        name: value
        for name in otel_propagate.get_global_textmap().fields
        if (value := _value(carrier, _as_variable(name)))
    }
    attached = otel_context.attach(otel_propagate.extract(theirs)) if theirs else None
    return tokens, attached


def _read(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        said = json.loads(text) if len(text) <= _MOST_READ else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        _log.warning(
            "%s is ignored, because it is not a value of wakelog.carrier(); events of this process "
            "have no parent in another process",
            CARRIER,
        )
        return {}
    return said


def _value(carrier: Mapping[str, str], variable: str) -> str | None:
    """Return a value by the name of the variable or of the header."""
    for name in (variable, variable.lower(), variable.lower().replace("_", "-")):
        value = carrier.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _as_variable(name: str) -> str:
    return name.upper().replace("-", "_")
