"""The context of events inside a block: ``bound``, and the current run.

One context variable a key, so that threads and tasks see what was bound where they were started
and nothing of each other's later changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from wakelog.record import kept, text_of

# Bound under these names, a value becomes the event's field of the same name; under any other
# name, an attribute.
FIELDS = ("session_id", "agent", "workflow", "tenant_id", "run_id", "event_key")

CARRIER = "WAKELOG_CONTEXT"
"""The variable, and in lower case the header, that has what events carry in another process."""

_fields: dict[str, ContextVar[str | None]] = {
    name: ContextVar(f"wakelog.{name}", default=None) for name in FIELDS
}
session_id, agent, workflow, tenant_id, run_id, event_key = (_fields[name] for name in FIELDS)

parent_id: ContextVar[str | None] = ContextVar("wakelog.parent_id", default=None)
"""The id of the event that opened the innermost ``run``, ``model`` or ``tool`` block."""

spending: ContextVar[Any] = ContextVar("wakelog.spending", default=None)
"""What the innermost run with a budget has used so far, None without any."""

_attributes: dict[str, ContextVar[object]] = {}


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Sets fields and attributes of every event that is recorded inside the block.

    Args:
        values: ``session_id``, ``agent``, ``workflow``, ``tenant_id`` and ``run_id`` set those
            fields, as text. ``event_key`` stands before the keys of events that have one. Any other name becomes an attribute of that name; write dots in it
            through ``**{"app.tier": "gold"}``. None takes an outer binding away.

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
    """Set what ``bound`` sets, and return what ``unset`` takes it back by."""
    tokens: list[Token[Any]] = []
    for name, value in values.items():
        if name == "event_key" and value is not None and (outer := event_key.get()) is not None:
            tokens.append(event_key.set(f"{outer}/{text_of(value)}"))
        elif name in _fields:
            tokens.append(_fields[name].set(None if value is None else text_of(value)))
        else:
            variable = _attributes.setdefault(name, ContextVar(f"wakelog.{name}", default=None))
            tokens.append(variable.set(kept(value)))
    return tokens


def field_of(name: str) -> str | None:
    """Return what is bound here for one of ``FIELDS``."""
    return _fields[name].get()


def unset(token: Token[Any]) -> bool:
    """Take back what a context variable was set to.

    Returns:
        Whether it was set in this context. A generator that nobody read to its end is closed in
        another one, where there is nothing to take back.
    """
    try:
        token.var.reset(token)
    except ValueError:
        return False
    return True


def bound_attributes() -> dict[str, object] | None:
    """Return the attributes that ``bound`` has set here, or None when there are none."""
    if not _attributes:
        return None
    # In one step a copy, since another thread may be binding a new name just now.
    variables = _attributes.copy()
    found = {name: value for name, var in variables.items() if (value := var.get()) is not None}
    return found or None
