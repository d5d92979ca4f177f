"""Span events whose attributes the SDK need not check, because they are valid as they are.

The SDK checks every attribute of an event, which takes longer than everything else that a record
costs. The events here equal its own; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, Span
from opentelemetry.trace import Span as APISpan

_FLAT = frozenset({str, int, bool, float, bytes, type(None)})
_TEXT = frozenset({str})
_add_event = Span.add_event
# A private name of the SDK. Without it, its spans are called like all others.
_add_made: Callable[[Any, Event], None] | None = getattr(Span, "_add_event", None)


def add_event(
    span: APISpan, name: str, attributes: Mapping[str, Any], timestamp: int | None
) -> None:
    """Add an event to a span, with the result of its own ``add_event``.

    Args:
        span: The span.
        name: The event's name.
        attributes: The event's attributes, which are copied.
        timestamp: The event's time in nanoseconds since 1970, None for now.
    """
    # Neither a subclass nor the object has an `add_event` of its own.
    if getattr(span.add_event, "__func__", None) is _add_event and _add_made is not None:
        valid = _valid(span, attributes)
        if valid is not None:
            _add_made(span, Event(name, valid, timestamp))
            return
    span.add_event(name, attributes=attributes, timestamp=timestamp)


def _valid(span: Any, attributes: Any) -> BoundedAttributes | None:
    """Return attributes in the form that the SDK gives them, None if it has to check them."""
    if type(attributes) is not dict and type(attributes) is not BoundedAttributes:
        return None
    plain: dict[str, Any] = attributes.copy()  # type: ignore[assignment] # it is a dict of both
    try:
        limits = span._limits  # noqa: SLF001 - a private name, as above
        most = limits.max_event_attributes
        if (
            limits.max_attribute_length is not None
            or (most is not None and len(plain) > most)
            or "" in plain
            or not _FLAT.issuperset(map(type, plain.values()))
            or not _TEXT.issuperset(map(type, plain))
        ):
            return None
        valid = BoundedAttributes(most)
        if type(valid._dict) is not dict:  # noqa: SLF001 - likewise
            return None
    except AttributeError:
        return None
    valid._dict = plain  # noqa: SLF001 - likewise
    return valid
