"""Open spans without activity, such as those of streams that nobody closes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from wakelog.otel._fields import attributes_of

Pulse = tuple[Any, ...]


class _Watched:
    """An open span, with the time of its last seen activity."""

    __slots__ = ("active", "active_ns", "parent", "pulse", "span")

    def __init__(self, span: ReadableSpan, now: float) -> None:
        self.span, self.active, self.active_ns = span, now, time.time_ns()
        self.parent = None if span.parent is None else span.parent.span_id
        self.pulse: Pulse = ()


class IdleSpans:
    """Finds open spans that have had no activity for longer than a limit.

    Activity of a span is a change of its attributes, events, links, name or status, and the start,
    the end or the activity of one of its children.

    Args:
        limit: The limit, in seconds.
        idle: Called with a span's id, the span, and the time of its last seen activity in
            nanoseconds since 1970.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        limit: float,
        idle: Callable[[int, ReadableSpan, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._idle, self._clock = idle, clock
        self._watched: dict[int, _Watched] = {}

    def clear(self) -> None:
        """Forget every span, in a forked child, where none of them continues."""
        self._watched = {}

    def add(self, span_id: int, span: ReadableSpan) -> None:
        """Watch a span that has started."""
        self._watched[span_id] = one = _Watched(span, self._clock())
        self._touch(one.parent)

    def remove(self, span_id: int) -> None:
        """Forget a span that ends."""
        one = self._watched.pop(span_id, None)
        if one is not None:
            self._touch(one.parent)

    def check(self) -> None:
        """Check every open span, and report the idle ones."""
        for one in list(self._watched.values()):
            if (pulse := _pulse_of(one.span)) != one.pulse:
                one.pulse = pulse
                self._touch_with_parents(one)
        before = self._clock() - self.limit
        for span_id, one in list(self._watched.items()):
            if one.active <= before and self._watched.pop(span_id, None) is not None:
                self._idle(span_id, one.span, one.active_ns)

    def _touch_with_parents(self, one: _Watched) -> None:
        above: _Watched | None = one
        for _ in range(len(self._watched)):  # bounded, because parents may form a cycle
            if above is None:
                break
            above.active, above.active_ns = self._clock(), time.time_ns()
            above = None if above.parent is None else self._watched.get(above.parent)

    def _touch(self, span_id: int | None) -> None:
        one = None if span_id is None else self._watched.get(span_id)
        if one is not None:
            one.active, one.active_ns = self._clock(), time.time_ns()


def _pulse_of(span: ReadableSpan) -> Pulse:
    """Return the values of a span that change with its activity."""
    return (
        span.name,
        attributes_of(span.attributes)[0],
        len(span.events),
        span.dropped_events,
        len(span.links),
        span.status.status_code,
    )
