"""Blocks around functions: ``@log.tool`` and ``@log.agent``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from wakelog.logger._blocks import RunBlock, ToolBlock

Function = TypeVar("Function", bound=Callable[..., Any])


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function as a tool or an agent."""
    return str(getattr(function, "__name__", type(function).__name__))


def decorated(
    function: Function,
    block_for: Callable[[dict[str, Any]], RunBlock | ToolBlock],
    *,
    blocking: bool,
) -> Function:
    """Return a function that runs each call inside a block.

    Coroutine functions, generators and async generators are recognised. A generator's block lasts
    from its first step to its end. It is suspended whenever an item is yielded, so that nothing is
    attached to the context of the consumer.

    Args:
        function: The function.
        block_for: Creates the block of one call from its arguments, by name.
        blocking: Whether the logger is used without ``await``.

    Returns:
        A function of the same kind, name and signature.

    Raises:
        TypeError: If the object is not a function, or if an asyncio logger decorates a function
            that is not async.
    """
    if isinstance(function, staticmethod | classmethod) or not callable(function):
        message = f"{function!r} is no function; the decorator goes below @staticmethod"
        raise TypeError(message)
    signature = inspect.signature(function)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunBlock | ToolBlock:
        return block_for(_arguments(signature, args, kwargs))

    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapper = _around_async_generator(function, begin)
    elif inspect.iscoroutinefunction(function):
        wrapper = _around_coroutine(function, begin)
    elif not blocking:
        message = f"{name_of(function)} is not async: an AsyncAgentLogger cannot wait in it"
        raise TypeError(message)
    elif inspect.isgeneratorfunction(function):
        wrapper = _around_generator(function, begin)
    else:
        wrapper = _around_call(function, begin)
    return cast("Function", functools.wraps(function)(wrapper))


Begin = Callable[[tuple[Any, ...], dict[str, Any]], "RunBlock | ToolBlock"]


def _around_call(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with (block := begin(args, kwargs)):
            result = function(*args, **kwargs)
            block.note(result)
        return result

    return call


def _around_coroutine(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with (block := begin(args, kwargs)):
            result = await function(*args, **kwargs)
            block.note(result)
        return result

    return call


def _around_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        block, inner, items = begin(args, kwargs), function(*args, **kwargs), 0
        block.__enter__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                item = inner.send(sent) if thrown is None else inner.throw(thrown)
            except StopIteration as end:
                block.note(end.value, items)
                block.__exit__(None, None, None)
                return end.value
            except BaseException as error:
                block.note(items=items)
                block.__exit__(type(error), error, error.__traceback__)
                raise
            items += 1
            block.suspend()
            sent = thrown = None
            try:
                sent = yield item
            except BaseException as error:  # noqa: BLE001 - passed on into the generator
                thrown = error
            block.resume()

    return call


def _around_async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        block, inner, items = begin(args, kwargs), function(*args, **kwargs), 0
        await block.__aenter__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                item = await (inner.asend(sent) if thrown is None else inner.athrow(thrown))
            except StopAsyncIteration:
                block.note(items=items)
                await block.__aexit__(None, None, None)
                return
            except BaseException as error:
                block.note(items=items)
                await block.__aexit__(type(error), error, error.__traceback__)
                raise
            items += 1
            block.suspend()
            sent = thrown = None
            try:
                sent = yield item
            except BaseException as error:  # noqa: BLE001 - passed on into the generator
                thrown = error
            block.resume()

    return call


def _arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, without ``self``."""
    try:
        named = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError:
        # The call itself will raise an error about its arguments.
        return {"args": list(args), **kwargs}
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(named.pop(parameter.name, {}))
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and parameter.name in named:
            named[parameter.name] = list(named[parameter.name])
    first = next(iter(signature.parameters), None)
    if first in ("self", "cls"):
        named.pop(first, None)
    return named
