"""Span events whose attributes the SDK need not check, because they are valid as they are.

The SDK checks every attribute of an event, which takes longer than everything else that a record
costs. The events here equal its own; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, Span
from opentelemetry.trace import Span as APISpan

_FLAT = frozenset({str, int, bool, float, bytes, type(None)})
_TEXT = frozenset({str})
# Private names of the SDK. Without one of them, its spans are called like all others.
_add_made: Any = getattr(Span, "_add_event", None)
_known = _add_made is not None and type(getattr(BoundedAttributes(), "_dict", None)) is dict
_add_event: object = Span.add_event if _known else object()


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
    kind = type(attributes)
    # Neither a subclass nor the object has an `add_event` of its own.
    if (
        (kind is dict or kind is BoundedAttributes)
        and getattr(span.add_event, "__func__", None) is _add_event
        and (limits := getattr(span, "_limits", None)) is not None
        and limits.max_attribute_length is None
    ):
        plain: Any = attributes.copy()  # type: ignore[attr-defined] # of both kinds
        most = limits.max_event_attributes
        if (
            (most is None or len(plain) <= most)
            and "" not in plain
            and _FLAT.issuperset(map(type, plain.values()))
            and _TEXT.issuperset(map(type, plain))
        ):
            valid = BoundedAttributes(most)
            valid._dict = plain  # noqa: SLF001 - a private name, as below
            _add_made(span, Event(name, valid, timestamp))
            return
    span.add_event(name, attributes=attributes, timestamp=timestamp)
