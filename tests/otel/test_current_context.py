"""The current context is read from where the API keeps it, with the API's own result."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from wakelog.otel import _others, _sink

SPAN = NonRecordingSpan(SpanContext(1, 2, is_remote=False))


def test_the_current_context_is_the_one_that_the_api_returns() -> None:
    assert _others.current_context is not otel_context.get_current
    for context in (Context(), Context({"a": 1})):
        token = otel_context.attach(context)
        assert _others.current_context() is otel_context.get_current() is context
        otel_context.detach(token)


@pytest.mark.parametrize("runtime", [type("Other", (ContextVarsRuntimeContext,), {})(), None])
def test_another_way_to_keep_contexts_is_asked_by_the_api(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", runtime)

    assert _others._getter() is otel_context.get_current


def test_a_context_with_a_span_is_the_apis() -> None:
    token = otel_context.attach(Context({"a": 1}))
    made = _others.context_with(SPAN)

    assert made == trace.set_span_in_context(SPAN)
    assert type(made) is Context
    assert trace.get_current_span(made) is SPAN
    otel_context.detach(token)


def test_a_loggers_resource_and_scope_are_those_of_its_properties() -> None:
    logger: Any = LoggerProvider(shutdown_on_exit=False).get_logger("a", "1.0")
    read: Any = _sink._getter(logger)

    assert read(logger) == (logger.resource, logger.instrumentation_scope)
    logger._set_resource("another")
    assert read(logger) == ("another", logger.instrumentation_scope)


def test_a_logger_of_a_users_class_is_asked_by_its_properties() -> None:
    class Theirs:
        resource, instrumentation_scope = "resource", "scope"

    theirs: Any = Theirs()
    read: Any = _sink._getter(theirs)

    assert read(theirs) == ("resource", "scope")
