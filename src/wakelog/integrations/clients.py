"""The clients of OpenAI and Anthropic: calls, streams, requested tool calls and usage.

    from openai import OpenAI
    from wakelog.integrations import clients
    client = clients.record(OpenAI(api_key="..."))

records every call of this client. It works the same for the async clients and for Anthropic's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from wakelog.events.semconv import CHAT
from wakelog.integrations._messages import of_chat, of_choices, of_items, parts_of, plain
from wakelog.integrations._model_streams import WatchedManager, WatchedStream, of_message
from wakelog.integrations._steps import Instrumentor, Steps, around, resource_of
from wakelog.logger import AgentLogger

__all__ = ["record"]

Client = TypeVar("Client")

_OTHERS: Final = (
    Instrumentor("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    Instrumentor("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.genai.anthropic", "AnthropicInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    Instrumentor("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
)


class _Method(NamedTuple):
    """A method of a client that calls a model.

    Attributes:
        path: The path of the method in the client.
        operation: The operation, by the conventions' names.
        given: The argument with the messages.
        read: Converts the messages to the conventions' form.
        respond: Sets a response on a block.
    """

    path: str
    operation: str
    given: str
    read: Callable[[Any], Any]
    respond: Callable[[Any, Any], None]


def _of_completion(block: Any, said: Mapping[str, Any]) -> None:
    reasons = [one.get("finish_reason") for one in map(plain, said.get("choices") or ())]
    block.respond(
        of_choices(said.get("choices")),
        usage=said.get("usage"),
        finish_reasons=[one for one in reasons if one] or None,
        response_id=said.get("id"),
        response_model=said.get("model"),
    )


def _of_response(block: Any, said: Mapping[str, Any]) -> None:
    status = said.get("status")
    block.respond(
        of_items(said.get("output")),
        usage=said.get("usage"),
        finish_reasons=[status] if status else None,
        response_id=said.get("id"),
        response_model=said.get("model"),
    )


def _of_embeddings(block: Any, said: Mapping[str, Any]) -> None:
    block.respond(usage=said.get("usage"), response_model=said.get("model"))


_METHODS: Final = (
    _Method("chat.completions.create", CHAT, "messages", of_chat, _of_completion),
    _Method("chat.completions.parse", CHAT, "messages", of_chat, _of_completion),
    _Method("responses.create", CHAT, "input", of_items, _of_response),
    _Method("responses.parse", CHAT, "input", of_items, _of_response),
    _Method("embeddings.create", "embeddings", "input", lambda given: given, _of_embeddings),
    _Method("messages.create", CHAT, "messages", of_chat, of_message),
    _Method("messages.parse", CHAT, "messages", of_chat, of_message),
    _Method("beta.messages.create", CHAT, "messages", of_chat, of_message),
)
# Managers that make the call when they are entered. OpenAI's managers use `create`.
_MANAGERS: Final = ("messages.stream", "beta.messages.stream")


def record(client: Client, log: AgentLogger | None = None, *, spans: bool = True) -> Client:
    """Record every call that a client makes from now on.

    Args:
        client: An ``OpenAI``, ``AsyncOpenAI``, ``Anthropic`` or ``AsyncAnthropic`` client, or one
            of a subclass such as ``AzureOpenAI``. The result of ``with_options`` is another client.
            For a client that is already recorded, the settings change.
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        spans: Whether to open spans; if not, events are on the current span of the call.

    Returns:
        The same client. ``client.wakelog_refused`` counts what could not be recorded, by reason.

    Raises:
        TypeError: If the client is of another library.
    """
    provider = provider_of(client)
    if provider is None:
        message = f"{type(client).__name__} is no client of OpenAI's or Anthropic's"
        raise TypeError(message)
    steps = Steps(log, spans=spans, framework=provider, others=_OTHERS)
    anthropic = provider == "anthropic"
    for method in _METHODS:
        if anthropic is not method.path.endswith(("messages.create", "messages.parse")):
            continue
        if (at := resource_of(client, method.path)) is not None:
            name = method.path.rpartition(".")[2]
            setattr(at, name, _around(_own(getattr(at, name)), method, provider, steps))
    for path in _MANAGERS if anthropic else ():
        if (at := resource_of(client, path)) is not None:
            at.stream = _around_manager(_own(at.stream), provider, steps)
    vars(client)["wakelog_refused"] = steps.refused
    return client


def provider_of(client: object) -> str | None:
    for kind in type(client).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in ("openai", "anthropic") and hasattr(client, "with_options"):
            return package
    return None


def _around(call: Callable[..., Any], method: _Method, provider: str, steps: Steps) -> Any:
    if inspect.iscoroutinefunction(inspect.unwrap(call)):

        @functools.wraps(call)
        async def asked(*args: Any, **kwargs: Any) -> Any:
            with around(steps, _block(method, provider, kwargs)) as key:
                result = await call(*args, **kwargs)
            return _answered(steps, key, method, kwargs, result)

        return _marked(asked, call)

    @functools.wraps(call)
    def asked_here(*args: Any, **kwargs: Any) -> Any:
        with around(steps, _block(method, provider, kwargs)) as key:
            result = call(*args, **kwargs)
        return _answered(steps, key, method, kwargs, result)

    return _marked(asked_here, call)


def _marked(ours: Any, call: Any) -> Any:
    ours.wakelog_own = call
    return ours


def _own(call: Any) -> Any:
    """Return the client's own method, also if it has been replaced by a recording one."""
    return getattr(call, "wakelog_own", call)


def _block(method: _Method, provider: str, given: Any) -> Callable[[AgentLogger], Any]:
    """Return what makes the block of a call with these arguments."""

    def block(log: AgentLogger) -> Any:
        request = {
            name: value
            for name, value in given.items()
            if name not in _NOT_SENT and name != method.given and _is_given(value)
        }
        if said := request.pop("system", None) or request.pop("instructions", None):
            request["system_instructions"] = said if isinstance(said, str) else parts_of(said)
        return log.model(
            str(given.get("model")),
            provider,
            method.read(given.get(method.given)),
            operation=method.operation,
            request=request,
        )

    return block


_NOT_SENT: Final = frozenset({"extra_headers", "extra_query", "timeout"})


def _is_given(value: object) -> bool:
    return type(value).__name__ not in ("NotGiven", "Omit")


def _answered(steps: Steps, key: object, method: _Method, given: Any, result: Any) -> Any:
    with steps.guarded():
        if given.get("stream") is True and (
            hasattr(result, "__next__") or hasattr(result, "__anext__")
        ):
            return WatchedStream(result, steps, key)

    def respond(block: Any) -> None:
        said = plain(_parsed(result) if given.get("stream") is not True else result)
        if isinstance(said, Mapping):
            method.respond(block, said)

    steps.end(key, None, respond)
    return result


def _parsed(result: Any) -> Any:
    """Return the parsed body of a raw response, which stays readable for the program."""
    parse = getattr(result, "parse", None) if hasattr(result, "http_response") else None
    if parse is None or inspect.iscoroutinefunction(parse) or not result.is_closed:
        return result
    return parse()


def _around_manager(call: Callable[..., Any], provider: str, steps: Steps) -> Any:
    method = _Method("messages.stream", CHAT, "messages", of_chat, of_message)

    @functools.wraps(call)
    def stream(*args: Any, **kwargs: Any) -> Any:
        key = object()
        block = _block(method, provider, {**kwargs, "stream": True})
        begin = functools.partial(steps.open, key, None, block)
        return WatchedManager(call(*args, **kwargs), begin, steps, key)

    return _marked(stream, call)
