"""Model Context Protocol: tool calls in the client and in the server, and context propagation.

    from wakelog.integrations import mcp
    mcp.install()

in the client. A server is recorded by ``MCPServer(..., middleware=[WakelogMiddleware()])``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from wakelog.context import CARRIER
from wakelog.integrations._extra import framework
from wakelog.integrations._messages import plain
from wakelog.integrations._steps import Instrumentor, Steps, around
from wakelog.logger import AgentLogger, ReportedError
from wakelog.propagation import carried, headers

_client: Any = framework("mcp.client.session", "mcp")

__all__ = ["WakelogMiddleware", "install", "uninstall"]

_OTHERS = (
    Instrumentor("opentelemetry.instrumentation.mcp", "McpInstrumentor"),
    # The SDK's own spans do not come from an instrumentor; Wakelog opens none without `spans=True`.
)
_KEY = CARRIER.lower()
# The installation of this process: the recorder, the original method and its replacement.
_installed: dict[str, Any] = {}


def install(log: AgentLogger | None = None, *, calls: bool = True, spans: bool = False) -> Steps:
    """Record the tool calls of every client session from now on, and propagate the context.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        calls: Whether to record the calls; if not, only the context is propagated, for an agent
            framework whose adapter already records them.
        spans: Whether to open spans; if not, events are on the SDK's own spans.

    Returns:
        The recorder, with the number of unrecorded calls in ``refused``.
    """
    steps = Steps(log, spans=spans, framework="mcp", others=_OTHERS)
    _installed.update(steps=steps, calls=calls)
    if "original" not in _installed:
        original = _client.ClientSession.call_tool
        wrapper = _around(original)
        _installed.update(original=original, wrapper=wrapper)
        _client.ClientSession.call_tool = wrapper
    return steps


def uninstall() -> None:
    """Stop recording, and stop propagating the context."""
    _installed.pop("steps", None)
    # If other code has wrapped the replacement, the replacement stays, without effect.
    if "wrapper" in _installed and _client.ClientSession.call_tool is _installed["wrapper"]:
        _client.ClientSession.call_tool = _installed["original"]
        _installed.clear()


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    takes_meta = "meta" in inspect.signature(original).parameters

    @functools.wraps(original)
    async def call_tool(
        self: Any, name: str, arguments: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if (steps := _installed.get("steps")) is None:  # uninstalled, but wrapped by other code
            return await original(self, name, arguments, *args, **kwargs)

        def block(log: AgentLogger) -> Any:
            return log.tool(name, arguments, tool_type="extension")

        with around(steps, block if _installed["calls"] else None) as key:
            if takes_meta:
                with steps.guarded():
                    kwargs["meta"] = _with_context(kwargs.get("meta"))
            result = await original(self, name, arguments, *args, **kwargs)
        _end(steps, key, result)
        return result

    return call_tool


class WakelogMiddleware:
    """Records the tool calls that a server handles, as part of the client's run.

    Args:
        log: As for ``install``.
        spans: As for ``install``.
    """

    def __init__(self, log: AgentLogger | None = None, *, spans: bool = False) -> None:
        self._steps = Steps(log, spans=spans, framework="mcp", others=_OTHERS)
        self.refused: Mapping[str, int] = self._steps.refused
        """The number of steps and events that were not recorded, by reason."""

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        """Handle one message."""
        steps, said, is_call = self._steps, None, False
        with steps.guarded():
            is_call = ctx.method == "tools/call"
            meta = getattr(ctx, "meta", None)
            said = meta.get(_KEY) if isinstance(meta, Mapping) else None
        with carried({_KEY: said} if isinstance(said, str) else {}):
            if not is_call:
                return await call_next(ctx)
            with around(steps, lambda log: _called(log, ctx.params or {})) as key:
                result = await call_next(ctx)
            _end(steps, key, result)
            return result


def _called(log: AgentLogger, asked: Mapping[str, Any]) -> Any:
    return log.tool(str(asked.get("name")), asked.get("arguments"), tool_type="function")


def _end(steps: Steps, key: object, result: Any) -> None:
    said = failure = None
    with steps.guarded():
        said = plain(result)
        failure = _failure(said)
    steps.end(key, failure, lambda block: block.note(_output(said)))


def _with_context(meta: Any) -> dict[str, Any]:
    """Return a request's metadata with Wakelog's context; the SDK itself propagates the trace."""
    here = headers()
    return {**(meta or {}), **({_KEY: here[_KEY]} if _KEY in here else {})}


def _failure(said: Any) -> ReportedError | None:
    if isinstance(said, Mapping) and (said.get("isError") or said.get("is_error")):
        return ReportedError(str(said.get("content")), "tool_error")
    return None


def _output(said: Any) -> Any:
    if not isinstance(said, Mapping):
        return said
    structured = said.get("structuredContent", said.get("structured_content"))
    return said.get("content") if structured is None else structured
