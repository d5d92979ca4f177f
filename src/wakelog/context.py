"""The context of events inside a block: ``bound``, and the current run.

Each key has its own context variable, so that threads and tasks inherit the bindings at their start
and do not affect each other later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from wakelog.record import kept, text_of

# A value with one of these names becomes the event's field of that name; with any other name, an
# attribute.
FIELDS = ("session_id", "agent", "workflow", "tenant_id", "run_id", "event_key")

CARRIER = "WAKELOG_CONTEXT"
"""The environment variable, and in lower case the header, that passes context to processes."""

_fields: dict[str, ContextVar[str | None]] = {
    name: ContextVar(f"wakelog.{name}", default=None) for name in FIELDS
}
session_id, agent, workflow, tenant_id, run_id, event_key = (_fields[name] for name in FIELDS)

parent_id: ContextVar[str | None] = ContextVar("wakelog.parent_id", default=None)
"""The id of the event that opened the innermost ``run``, ``model`` or ``tool`` block."""

spending: ContextVar[Any] = ContextVar("wakelog.spending", default=None)
"""The usage of the innermost run with a budget, or None."""

attributes: dict[str, ContextVar[object]] = {}
"""The variables of bound attributes, by name; empty if the process has never bound one."""


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Sets fields and attributes of every event that is recorded inside the block.

    Args:
        values: ``session_id``, ``agent``, ``workflow``, ``tenant_id`` and ``run_id`` set those
            fields, as text. ``event_key`` is prepended to the keys of events that have one. Any
            other name sets the attribute of that name; for names with dots, pass ``**{"app.tier":
            "gold"}``. None removes an outer binding.

    Yields:
        Nothing.
    """
    tokens = bind(values)
    try:
        yield
    finally:
        for token in reversed(tokens):
            unset(token)


def bind(values: Mapping[str, object]) -> list[Token[Any]]:
    """Set the values of ``bound``, and return the tokens for ``unset``."""
    tokens: list[Token[Any]] = []
    for name, value in values.items():
        if name == "event_key" and value is not None and (outer := event_key.get()) is not None:
            tokens.append(event_key.set(f"{outer}/{text_of(value)}"))
        elif name in _fields:
            tokens.append(_fields[name].set(None if value is None else text_of(value)))
        else:
            variable = attributes.setdefault(name, ContextVar(f"wakelog.{name}", default=None))
            tokens.append(variable.set(kept(value)))
    return tokens


def field_of(name: str) -> str | None:
    """Return the bound value of one of ``FIELDS``, or None."""
    return _fields[name].get()


def unset(token: Token[Any]) -> bool:
    """Restore the former value of a context variable.

    Returns:
        Whether it was set in this context. A generator that was not read to its end may be closed
        in another context, where nothing has to be restored.
    """
    try:
        token.var.reset(token)
    except ValueError:
        return False
    return True


def bound_attributes() -> dict[str, object] | None:
    """Return the attributes that ``bound`` has set, or None without any."""
    if not attributes:
        return None
    # A copy in one step, because another thread may be adding a name.
    variables = attributes.copy()
    found = {name: value for name, var in variables.items() if (value := var.get()) is not None}
    return found or None
