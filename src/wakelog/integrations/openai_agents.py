"""OpenAI's Agents SDK: runs, hand-offs, model calls, tool calls and approvals.

    from wakelog.integrations import openai_agents
    openai_agents.install()

before the first run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any, Final

from wakelog.integrations._extra import framework
from wakelog.integrations._messages import arguments_of, of_items, plain
from wakelog.integrations._steps import Instrumentor, OpenStep, Steps, within
from wakelog.logger import AgentLogger, ReportedError

_agents: Any = framework("agents", "openai-agents")

__all__ = ["install", "uninstall"]

_OTHERS: Final = (
    Instrumentor("openinference.instrumentation.openai_agents", "OpenAIAgentsInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.genai.openai_agents", "OpenAIAgentsInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.openai_agents", "OpenAIAgentsInstrumentor"),
)
_METHODS: Final = ("run", "run_sync", "run_streamed")
_WORKFLOW: Final = "Agent workflow"  # the SDK's default name

_steps: Steps | None = None
_originals: dict[str, tuple[Any, Any]] = {}  # each method, and its replacement


def install(log: AgentLogger | None = None, *, spans: bool = True) -> Steps:
    """Record every run of ``agents.Runner`` from now on; another call changes the settings.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        spans: Whether to open spans; if not, events are on the spans of another instrumentation.

    Returns:
        The recorder, with the number of unrecorded steps in ``refused``.
    """
    global _steps  # noqa: PLW0603 - one installation for the process
    _steps = Steps(log, spans=spans, framework="openai-agents", others=_OTHERS)
    for name in _METHODS:
        if name in _originals:
            continue
        original = inspect.getattr_static(_agents.Runner, name)
        function = original.__func__
        around = {"run": _around_run, "run_sync": _around_run_sync}.get(name, _around_run_streamed)
        ours = classmethod(functools.wraps(function)(around(function)))
        _originals[name] = original, ours
        setattr(_agents.Runner, name, ours)
    return _steps


def uninstall() -> None:
    """Stop recording."""
    global _steps  # noqa: PLW0603 - as above
    _steps = None
    for name, (original, ours) in list(_originals.items()):
        # If other code has wrapped the replacement, the replacement stays, without effect.
        if inspect.getattr_static(_agents.Runner, name) is ours:
            setattr(_agents.Runner, name, original)
            del _originals[name]


def _around_run(function: Any) -> Any:
    signature = inspect.signature(function)

    async def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if (steps := _steps) is None:
            return await function(cls, *args, **kwargs)
        with _observed(steps, signature, cls, args, kwargs) as (observer, bound):
            result = await function(*bound.args, **bound.kwargs)
            observer.finish(result)
        return result

    return run


def _around_run_sync(function: Any) -> Any:
    signature = inspect.signature(function)

    def run_sync(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if (steps := _steps) is None:
            return function(cls, *args, **kwargs)
        with _observed(steps, signature, cls, args, kwargs) as (observer, bound):
            result = function(*bound.args, **bound.kwargs)
            observer.finish(result)
        return result

    return run_sync


def _around_run_streamed(function: Any) -> Any:
    signature = inspect.signature(function)

    def run_streamed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if (steps := _steps) is None:
            return function(cls, *args, **kwargs)
        observer, bound = _begin(steps, signature, cls, args, kwargs)
        try:
            with within(observer.workflow):
                result = function(*bound.args, **bound.kwargs)
        except BaseException as error:
            observer.end(error)
            raise
        with observer.steps.guarded():
            result.stream_events = functools.partial(_watched, observer, result)
            if (task := getattr(result, "run_loop_task", None)) is not None:
                task.add_done_callback(functools.partial(_ended, observer, result))
        return result

    return run_streamed


async def _watched(observer: _Observer, result: Any) -> AsyncIterator[Any]:
    events = type(result).stream_events(result)
    try:
        async for event in events:
            with observer.steps.guarded():
                observer.seen(event)
            yield event
    except GeneratorExit:
        # The SDK waits for the run, which may still complete.
        await events.aclose()
        _close(observer, result)
        raise
    except BaseException as error:
        observer.end(error)
        raise
    _close(observer, result)


def _ended(observer: _Observer, result: Any, task: Any) -> None:
    """Record the end of a run whose events were not read."""
    if task.cancelled():
        observer.end(GeneratorExit())
    elif (error := task.exception()) is not None:
        observer.end(error)
    else:
        _close(observer, result)


def _close(observer: _Observer, result: Any) -> None:
    was_cancelled = False
    with observer.steps.guarded():
        was_cancelled = result.final_output is None and not getattr(result, "interruptions", ())
    if was_cancelled:
        observer.end(GeneratorExit())
    else:
        observer.finish(result)


@contextmanager
def _observed(steps: Steps, signature: inspect.Signature, cls: Any, args: Any, kwargs: Any) -> Any:
    observer, bound = _begin(steps, signature, cls, args, kwargs)
    try:
        with within(observer.workflow):
            yield observer, bound
    except BaseException as error:
        observer.end(error)
        raise


def _begin(
    steps: Steps, signature: inspect.Signature, cls: Any, args: Any, kwargs: Any
) -> tuple[_Observer, Any]:
    bound = signature.bind(cls, *args, **kwargs)
    given = bound.arguments
    observer = _Observer(steps, given.get("hooks"), given.get("run_config"))
    observer.begin(given.get("starting_agent"), given.get("input"), given.get("conversation_id"))
    if given.get("hooks") is None or isinstance(given["hooks"], _BASE):
        given["hooks"] = observer  # the SDK itself rejects hooks of other types
    return observer, bound


_BASE: Any = _agents.lifecycle.RunHooksBase


class _Observer(_agents.RunHooks):  # type: ignore[misc] # the package may be missing
    """Records one run, and passes calls on to the program's own hooks."""

    def __init__(self, steps: Steps, hooks: Any, run_config: Any) -> None:
        self.steps = steps
        self._hooks: Any = _agents.RunHooks() if hooks is None else hooks
        with steps.guarded():
            for name in dir(hooks):  # callbacks of newer versions of the SDK
                if name.startswith("on_") and name not in vars(_Observer):
                    setattr(self, name, getattr(hooks, name))
        self._config = run_config
        self.workflow: OpenStep | None = None
        # The agent whose run is open, and its step.
        self._agent: Any = None
        self._run: OpenStep | None = None
        self._pending: dict[str, str] = {}  # tools by the ids of calls that wait for an approval

    # Called by the wrapped methods of the runner.

    def begin(self, agent: Any, given: Any, conversation: Any) -> None:
        with self.steps.guarded():
            self._agent = agent
            waiting = getattr(given, "get_interruptions", None)
            if callable(waiting):  # a state from which the run resumes
                self._pending = {_call_id(one): _tool_name(one) for one in waiting()}
                self._agent = next((one.agent for one in waiting()), agent)
                given = None
            workflow = self._setting("workflow_name") or _WORKFLOW
            session = conversation or self._setting("group_id")
            self.workflow = self.steps.open(
                (self, "workflow"),
                None,
                lambda log: log.run(
                    given and of_items(given), workflow=workflow, session_id=session
                ),
            )

    def finish(self, result: Any) -> None:
        status = output = None
        with self.steps.guarded():
            waiting = list(getattr(result, "interruptions", ()))
            status = "interrupted" if waiting else None
            still = {_call_id(one) for one in waiting}
            for call_id, tool in self._pending.items():
                if call_id not in still:
                    self._approval("rejected", call_id, tool)
            for one in waiting:
                self._approval("requested", _call_id(one), _tool_name(one), _arguments(one))
            output = plain(getattr(result, "final_output", None))
        self.steps.end((self, "run"), None, lambda block: block.note(status=status))
        self.steps.end((self, "workflow"), None, lambda block: block.note(output, status=status))

    def end(self, error: BaseException) -> None:
        self.steps.end((self, "workflow"), error)

    def seen(self, event: Any) -> None:
        if getattr(event, "type", None) == "raw_response_event":
            model = self.steps.get((self, "model"))
            kind = getattr(event.data, "type", "")
            if model is not None and kind.endswith((".delta", ".added")):
                model.block.first_chunk()  # type: ignore[attr-defined] # a ModelBlock

    # Called by the SDK as hooks.

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        with self.steps.guarded():
            self._run_of(agent)
        await self._hooks.on_agent_start(context, agent)

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        self.steps.end((self, "run"), None, lambda block: block.note(plain(output)))
        self._run = None
        await self._hooks.on_agent_end(context, agent, output)

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        with self.steps.guarded():
            run = self._run_of(from_agent)
            self.steps.event("agent_handoff", {"from": from_agent.name, "to": to_agent.name}, run)
            self.steps.end((self, "run"))
            self._run = None
        await self._hooks.on_handoff(context, from_agent, to_agent)

    async def on_llm_start(
        self, context: Any, agent: Any, system_prompt: Any, input_items: Any
    ) -> None:
        with self.steps.guarded():
            run = self._run_of(agent)
            self.steps.end((self, "model"), ReportedError("asked again", "retry"))
            model, provider = self._model_of(agent)
            request = {"system_instructions": system_prompt} if system_prompt else {}
            self.steps.open(
                (self, "model"),
                run,
                lambda log: log.model(
                    model, provider, of_items(input_items), request=self._settings(agent, request)
                ),
            )
        await self._hooks.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        self.steps.end(
            (self, "model"),
            None,
            lambda block: block.respond(
                of_items(response.output),
                usage=_usage(response.usage),
                response_id=response.response_id,
            ),
        )
        await self._hooks.on_llm_end(context, agent, response)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        with self.steps.guarded():
            run = self._run_of(agent)
            call_id = getattr(context, "tool_call_id", None)
            if (waiting := self._pending.pop(call_id or "", None)) is not None:
                self._approval("approved", str(call_id), waiting)
            arguments = arguments_of(getattr(context, "tool_arguments", None))
            self.steps.open(
                self._key_of(context, tool),
                run,
                lambda log: log.tool(
                    tool.name,
                    arguments,
                    call_id=call_id,
                    tool_type="function",
                    description=getattr(tool, "description", None),
                ),
            )
        await self._hooks.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        with self.steps.guarded():
            key = self._key_of(context, tool)
            self.steps.end(key, _error_here(), lambda block: block.note(plain(result)))
        await self._hooks.on_tool_end(context, agent, tool, result)

    # Common methods.

    def _key_of(self, context: Any, tool: Any) -> object:
        call_id = getattr(context, "tool_call_id", None)
        return self, "tool", call_id or id(context), tool.name

    def _run_of(self, agent: Any) -> OpenStep | None:
        """Return the step of an agent's run, which is opened if necessary."""
        if self._run is not None and self._agent is agent:
            return self._run
        self.steps.end((self, "run"))
        self._agent = agent
        self._run = self.steps.open(
            (self, "run"), self.workflow, lambda log: log.run(agent=agent.name)
        )
        return self._run

    def _approval(self, status: str, call_id: str, tool: str, arguments: Any = None) -> None:
        payload = {} if arguments is None else {"args": arguments}
        self.steps.event(
            "human_approval",
            payload,
            self._run_of(self._agent),
            status=status,
            tool_name=tool,
            call_id=call_id,
        )

    def _setting(self, name: str) -> Any:
        return _field(self._config, name)

    def _model_of(self, agent: Any) -> tuple[str, str | None]:
        model = self._setting("model") or agent.model
        if model is None:
            defaults = getattr(_agents, "models", None)
            default = getattr(defaults, "get_default_model", None)
            return (default() if callable(default) else "default"), "openai"
        if isinstance(model, str):
            provider, slash, bare = model.rpartition("/")
            return (bare, provider.rpartition("/")[2]) if slash else (model, "openai")
        name = getattr(model, "model", None)
        official = type(model).__module__.startswith("agents.models.openai")
        return str(name or type(model).__name__), "openai" if official else None

    def _settings(self, agent: Any, request: dict[str, Any]) -> dict[str, Any]:
        settings = getattr(agent, "model_settings", None)
        for name in ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty"):
            if (value := getattr(settings, name, None)) is not None:
                request[name] = value
        return request


def _error_here() -> ReportedError | None:
    """Return the error in the SDK's span of a tool call, whose result may be the error's text."""
    span = _agents.tracing.get_current_span()
    if span is None or not (error := span.error):
        return None
    said = error.get("data") or {}
    return ReportedError(str(said.get("error") or error.get("message")), str(error.get("message")))


def _usage(usage: Any) -> Any:
    return usage if getattr(usage, "requests", 1) else None


def _call_id(item: Any) -> str:
    return str(_field(item.raw_item, "call_id"))


def _tool_name(item: Any) -> str:
    return str(getattr(item, "tool_name", None) or _field(item.raw_item, "name"))


def _arguments(item: Any) -> Any:
    return arguments_of(_field(item.raw_item, "arguments"))


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)
