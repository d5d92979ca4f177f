"""LangChain and LangGraph: runs, hand-offs, model calls, tool calls, searches and interrupts.

    from wakelog.integrations import langchain
    langchain.install()

before the first model call.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Final

from wakelog.integrations._extra import framework
from wakelog.integrations._langchain_messages import (
    content_of,
    decisions_of,
    goto,
    of_messages,
    requests_of,
    respond,
)
from wakelog.integrations._steps import Instrumentor, OpenStep, Steps
from wakelog.logger import AgentLogger, ReportedError

_callbacks: Any = framework("langchain_core.callbacks", "langchain")
try:
    # LangGraph reports the resumption of a graph only to handlers of this class.
    _Base: Any = import_module("langgraph.callbacks").GraphCallbackHandler
except (ImportError, AttributeError):
    _Base = _callbacks.BaseCallbackHandler

__all__ = ["WakelogCallbackHandler", "install", "uninstall"]

_OTHERS: Final = (
    Instrumentor("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.genai.langchain", "LangChainInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
)
_NODE: Final = "graph:step:"
_RETRY: Final = "retry:attempt:"
_MOST: Final = 10_000

_installed: WakelogCallbackHandler | None = None
_hooked: ContextVar[Any] | None = None


def install(log: AgentLogger | None = None, *, spans: bool = True) -> WakelogCallbackHandler:
    """Record everything that LangChain and LangGraph run from now on, in every thread.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        spans: Whether to open spans; if not, events are on the current span of the call.

    Returns:
        The handler, the same one for every call; another call changes the settings.
    """
    global _installed, _hooked  # noqa: PLW0603 - one for the process
    if _installed is None:
        _installed = WakelogCallbackHandler(log, spans=spans)
    _installed.set_up(log, spans=spans)
    if _hooked is None:
        # LangChain reads the variable in every thread that runs something: hence the default.
        _hooked = ContextVar("wakelog.langchain", default=_installed)
        context: Any = import_module("langchain_core.tracers.context")
        # With handle_class, a handler in a config's callbacks replaces this one.
        context.register_configure_hook(
            _hooked, inheritable=True, handle_class=WakelogCallbackHandler
        )
    return _installed


def uninstall() -> None:
    """Stop recording."""
    if _installed is not None:
        _installed.steps = None


class _Runnable:
    """A running runnable: a graph, a node of one, or anything else."""

    __slots__ = ("given", "interrupts_said", "metadata", "name", "parent")

    def __init__(self, name: str, parent: Any, given: Any, metadata: Mapping[str, Any]) -> None:
        self.name, self.parent, self.given, self.metadata = name, parent, given, metadata
        self.interrupts_said = False


def _recording(record: Callable[..., None]) -> Callable[..., None]:
    """Return a callback that records with the handler's ``Steps``, and does nothing without them."""

    @functools.wraps(record)
    def callback(handler: WakelogCallbackHandler, /, *given: Any, **said: Any) -> None:
        if (steps := handler.steps) is not None:
            with steps.guarded():
                record(handler, steps, *given, **said)

    return callback


class WakelogCallbackHandler(_Base):  # type: ignore[misc] # the package may be missing
    """A handler for the callbacks of one ``config``, in place of ``install`` for all.

    Args:
        log: As for ``install``.
        spans: As for ``install``.
    """

    run_inline = True  # asyncio: in the caller's task and before the call, not in another thread
    raise_error = False

    def __init__(self, log: AgentLogger | None = None, *, spans: bool = True) -> None:
        self.steps: Steps | None = None
        self._settings: tuple[AgentLogger | None, bool] | None = None
        # Runnables by run id.
        self._chains: OrderedDict[Any, _Runnable] = OrderedDict()
        # Tool calls that wait for approval, by the checkpoint namespace of the requesting node.
        self._waiting: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self.set_up(log, spans=spans)

    def set_up(self, log: AgentLogger | None, *, spans: bool) -> None:
        """Change the settings from now on; arguments as for ``install``."""
        if self.steps is None or self._settings != (log, spans):  # otherwise open steps continue
            self.steps = Steps(log, spans=spans, framework="langchain", others=_OTHERS)
            self._settings = log, spans

    @property
    def refused(self) -> dict[str, int]:
        """The number of steps and events that were not recorded, by reason."""
        return dict(self.steps.refused) if self.steps is not None else {}

    # Chains, graphs and nodes

    @_recording
    def on_chain_start(
        self,
        steps: Steps,
        /,
        serialized: Any,
        inputs: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        tags: Any = None,
        metadata: Any = None,
        name: Any = None,
        **_: Any,
    ) -> None:
        """Store the start of a runnable; a graph is recognized by its first node."""
        named = name or (serialized or {}).get("name") or "chain"
        chain = _Runnable(str(named), parent_run_id, inputs, metadata or {})
        _put(self._chains, run_id, chain)
        self._say_retry(steps, tags, parent_run_id)
        if parent_run_id is None:
            self._open_run(steps, run_id, chain)
        elif any(str(tag).startswith(_NODE) for tag in tags or ()):
            if (graph := self._chains.get(parent_run_id)) is not None:
                self._open_run(steps, parent_run_id, graph)
            self._say_answers(steps, chain)

    @_recording
    def on_chain_end(self, steps: Steps, /, outputs: Any, *, run_id: Any, **_: Any) -> None:
        """Record the end of a graph."""
        chain = self._chains.pop(run_id, None)
        waits = chain is not None and chain.interrupts_said
        status = "interrupted" if waits else None
        steps.end(run_id, None, lambda block: block.note(content_of(outputs), status=status))

    @_recording
    def on_chain_error(
        self, steps: Steps, /, error: BaseException, *, run_id: Any, **_: Any
    ) -> None:
        """Record the end of a graph by a failure, a hand-off or an interrupt."""
        chain = self._chains.pop(run_id, None)
        named = type(error).__name__
        if named == "ParentCommand":
            if (step := steps.get(run_id)) is not None and chain is not None:
                for to in goto(error):
                    steps.event("agent_handoff", {"from": chain.name, "to": to}, step)
                steps.end(run_id)
        elif named in ("GraphInterrupt", "NodeInterrupt", "GraphBubbleUp"):
            if chain is not None:
                self._say_interrupts(steps, chain, error)
            steps.end(run_id, None, lambda block: block.note(status="interrupted"))
        else:
            steps.end(run_id, error)

    @_recording
    def on_resume(self, steps: Steps, /, event: Any) -> None:
        """Record a resumption from a checkpoint; LangGraph only calls the handlers of a config."""
        if not event.checkpoint_ns:
            at = self._step_of(steps, event.run_id)
            steps.event("resumed", {"from_checkpoint": event.checkpoint_id}, at)

    def _open_run(self, steps: Steps, run_id: Any, chain: _Runnable) -> None:
        if steps.get(run_id) is not None:
            return
        above = self._step_of(steps, chain.parent)
        said = chain.metadata
        session = said.get("thread_id") or said.get("session_id") if above is None else None
        agent = said.get("lc_agent_name")
        workflow = chain.name if above is None and agent is None else None
        given = content_of(chain.given) if above is None else None
        steps.open(
            run_id,
            above,
            lambda log: log.run(
                given,
                agent=None if workflow else chain.name,
                workflow=workflow,
                session_id=None if session is None else str(session),
            ),
        )

    def _step_of(self, steps: Steps, run_id: Any) -> OpenStep | None:
        """Return the innermost open step at or above a runnable."""
        while run_id is not None:
            if (step := steps.get(run_id)) is not None:
                return step
            chain = self._chains.get(run_id)
            run_id = None if chain is None else chain.parent
        return None

    # Interrupts; those of an agent's tool calls are approvals

    def _say_interrupts(self, steps: Steps, chain: _Runnable, error: BaseException) -> None:
        if chain.interrupts_said:
            return  # the inner node has recorded them
        above: _Runnable | None = chain
        while above is not None:
            above.interrupts_said = True
            above = self._chains.get(above.parent)
        at = self._step_of(steps, chain.parent)
        asked: list[dict[str, Any]] = []
        for one in error.args[0] if error.args and isinstance(error.args[0], tuple | list) else ():
            value = getattr(one, "value", one)
            if requests := requests_of(value):
                asked += requests
            else:
                kind = {"kind": "interrupt", "value": value}
                steps.event("interrupt", kind, at)
        for request in asked:
            steps.event(
                "human_approval",
                {"args": request.get("args")},
                at,
                status="requested",
                tool_name=request.get("name") or request.get("action"),
            )
        if asked:
            _put(self._waiting, chain.metadata.get("langgraph_checkpoint_ns", ""), asked)

    def _say_answers(self, steps: Steps, chain: _Runnable) -> None:
        asked = self._waiting.pop(chain.metadata.get("langgraph_checkpoint_ns", ""), None)
        if asked is None:
            return
        root = chain
        while (above := self._chains.get(root.parent)) is not None:
            root = above
        decisions = decisions_of(getattr(root.given, "resume", None))
        at = self._step_of(steps, chain.parent)
        for place, request in enumerate(asked):
            decision = decisions[min(place, len(decisions) - 1)] if decisions else None
            steps.event(
                "human_approval",
                {},
                at,
                status=decision or "answered",
                tool_name=request.get("name") or request.get("action"),
            )

    # Models

    @_recording
    def on_chat_model_start(
        self, steps: Steps, /, serialized: Any, messages: Any, **said: Any
    ) -> None:
        """Record the call of a chat model."""
        self._open_model(
            steps, serialized, lambda: of_messages(messages[0] if messages else ()), said
        )

    @_recording
    def on_llm_start(self, steps: Steps, /, serialized: Any, prompts: Any, **said: Any) -> None:
        """Record the call of a text completion model."""
        self._open_model(
            steps, serialized, lambda: "\n".join(prompts), said, operation="text_completion"
        )

    def _open_model(
        self, steps: Steps, serialized: Any, given: Any, said: Any, operation: str = "chat"
    ) -> None:
        self._say_retry(steps, said.get("tags"), said.get("parent_run_id"))
        metadata, request = said.get("metadata") or {}, said.get("invocation_params") or {}
        model = (
            metadata.get("ls_model_name")
            or request.get("model")
            or request.get("model_name")
            or said.get("name")
            or ((serialized or {}).get("id") or ["unknown"])[-1]
        )
        request = {
            key: value
            for key, value in request.items()
            if value is not None and key not in ("_type", "model_name")
        }
        steps.open(
            said["run_id"],
            self._step_of(steps, said.get("parent_run_id")),
            lambda log: log.model(
                str(model),
                metadata.get("ls_provider"),
                given(),
                operation=operation,
                request=request,
            ),
        )

    @_recording
    def on_llm_new_token(self, steps: Steps, /, token: Any, *, run_id: Any, **_: Any) -> None:  # noqa: ARG002
        """Set the time of the first chunk."""
        if (step := steps.get(run_id)) is not None:
            step.block.first_chunk()  # type: ignore[attr-defined] # a ModelBlock

    @_recording
    def on_llm_end(self, steps: Steps, /, response: Any, *, run_id: Any, **_: Any) -> None:
        """Record the response of a model."""
        steps.end(run_id, None, lambda block: respond(block, response))

    @_recording
    def on_llm_error(self, steps: Steps, /, error: BaseException, *, run_id: Any, **_: Any) -> None:
        """Record that a model failed, or that its call was cancelled."""
        steps.end(run_id, error)

    # Tools and searches

    @_recording
    def on_tool_start(self, steps: Steps, /, serialized: Any, input_str: Any, **said: Any) -> None:
        """Record the call of a tool."""
        self._say_retry(steps, said.get("tags"), said.get("parent_run_id"))
        about = serialized or {}
        name = said.get("name") or about.get("name") or "tool"
        given = said.get("inputs")
        steps.open(
            said["run_id"],
            self._step_of(steps, said.get("parent_run_id")),
            lambda log: log.tool(
                name,
                input_str if given is None else given,
                call_id=said.get("tool_call_id"),
                tool_type="function",
                description=about.get("description"),
            ),
        )

    @_recording
    def on_tool_end(self, steps: Steps, /, output: Any, *, run_id: Any, **_: Any) -> None:
        """Record the result of a tool."""
        error = None
        with steps.guarded():
            if getattr(output, "status", None) == "error":
                error = ReportedError(str(output.content), "tool_error")
        steps.end(run_id, error, lambda block: block.note(content_of(output)))

    @_recording
    def on_tool_error(
        self, steps: Steps, /, error: BaseException, *, run_id: Any, **_: Any
    ) -> None:
        """Record that a tool failed, or that it is interrupted."""
        if type(error).__name__ in ("GraphInterrupt", "NodeInterrupt"):
            steps.end(run_id, None, lambda block: block.note(status="interrupted"))
        else:
            steps.end(run_id, error)

    @_recording
    def on_retriever_start(self, steps: Steps, /, serialized: Any, query: str, **said: Any) -> None:
        """Record the query of a search."""
        source = said.get("name") or (serialized or {}).get("name")
        at = self._step_of(steps, said.get("parent_run_id"))
        steps.event("retrieval_query", {"query": query, "source": source}, at)

    @_recording
    def on_retriever_end(self, steps: Steps, /, documents: Any, **said: Any) -> None:
        """Record the result of a search."""
        at = self._step_of(steps, said.get("parent_run_id"))
        steps.event("retrieval_result", {"result": [content_of(one) for one in documents]}, at)

    @_recording
    def on_retriever_error(self, steps: Steps, /, error: BaseException, **said: Any) -> None:
        """Record that a search failed."""
        at = self._step_of(steps, said.get("parent_run_id"))
        payload = {"error": str(error), "error_type": type(error).__qualname__}
        steps.event("error", payload, at, status="error")

    # The rest

    @_recording
    def on_retry(self, steps: Steps, /, retry_state: Any, *, run_id: Any, **_: Any) -> None:
        """Record a retry."""
        payload = {"kind": "retry", "attempt": retry_state.attempt_number}
        steps.event("warning", payload, self._step_of(steps, run_id))

    def _say_retry(self, steps: Steps, tags: Any, parent: Any) -> None:
        """Record a retry of ``with_retry``, which LangChain reports by a tag."""
        for tag in tags or ():
            if tag.startswith(_RETRY):
                payload = {"kind": "retry", "attempt": int(tag.removeprefix(_RETRY)) - 1}
                steps.event("warning", payload, self._step_of(steps, parent))

    @_recording
    def on_custom_event(
        self, steps: Steps, /, name: str, data: Any, *, run_id: Any, **_: Any
    ) -> None:
        """Record an event that the program has dispatched."""
        payload = {"name": name, "data": content_of(data)}
        steps.event("custom", payload, self._step_of(steps, run_id))


def _put(where: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Store something that the framework should end; drop the oldest entry of too many."""
    where[key] = value
    if len(where) > _MOST:
        where.popitem(last=False)
