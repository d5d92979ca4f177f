"""The data model of the view: sessions and their steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from wakelog.record import rfc3339, to_line

RUN: Final = "run"
"""The ``type`` of a step that is a run."""
RUNNING: Final = "running"
"""The ``status`` of a step that has not ended and whose process is alive."""
UNKNOWN: Final = "unknown"
"""The ``status`` of a step that began and whose end is unknown, for example after a crash."""

_MILLISECOND = 1_000_000


@dataclass(slots=True)
class Step:
    """Something that an agent did: a run, a call with a duration, or one event.

    Attributes:
        id: For a run, the run's id; otherwise the id of the record that began the step.
        type: ``run``, or the event type: ``tool_call``, ``model_call``, ``decision``, ... For a
            record that is not Wakelog's, its event name, or ``log``.
        name: The agent of a run, the tool, the model, the policy.
        agent: The agent that did it.
        start: Nanoseconds since 1970; None if the record has no time.
        end: The time of the end, likewise; None without one.
        status: The recorded outcome, or ``running`` or ``unknown``; None if the event has no
            outcome.
        summary: One line of what was said, asked or returned.
        level: The severity of the record that began it, as text.
        message: The complete message of a log record; None for agent events.
        exception: ``type`` and ``message`` of the record's exception.
        trace_id: The trace id.
        span_id: The span id.
        steps: The steps inside, by time, including runs of sub-agents.
        attributes: The attributes of its records, if requested.
        body: The body of its record, if attributes were requested.
        usage: The tokens that it states, by the keys of a ``model_response``.
        cost_usd: The cost that it states; None if it states none.
    """

    id: str
    type: str
    name: str | None = None
    agent: str | None = None
    start: int | None = None
    end: int | None = None
    status: str | None = None
    summary: str = ""
    level: str | None = None
    message: str | None = None
    exception: dict[str, str | None] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    steps: list[Step] = field(default_factory=list)
    attributes: dict[str, object] | None = None
    body: object = None
    usage: dict[str, int] = field(default_factory=dict)
    cost_usd: Decimal | None = None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from start to end; None if one of them is unknown."""
        return _milliseconds(self.start, self.end)

    @property
    def outcome_unknown(self) -> bool:
        """Whether it began and its end is unknown."""
        return self.status == UNKNOWN

    def to_dict(self) -> dict[str, Any]:
        """Return the step in the form that ``wakelog show --json`` prints."""
        result: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "agent": self.agent,
            "start": None if self.start is None else rfc3339(self.start),
            "duration_ms": self.duration_ms,
            "status": self.status,
            "summary": self.summary,
            "level": self.level,
            "message": to_line(self.message),
            "exception": to_line(self.exception),
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "usage": self.usage or None,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "steps": [step.to_dict() for step in self.steps],
        }
        if self.attributes is not None:
            result["attributes"] = to_line(self.attributes)
            result["body"] = to_line(self.body)
        return result


@dataclass(slots=True)
class Session:
    """A conversation, identified by the id that the caller gave it.

    Attributes:
        id: The id; None for runs without one.
        runs: The outermost runs, by time.
        steps: The steps with the conversation's id and without a run, by time.
    """

    id: str | None
    runs: list[Step] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def start(self) -> int | None:
        """The start of the first step, in nanoseconds since 1970."""
        return _extent(self)[0]

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from the first to the last record."""
        return _milliseconds(*_extent(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the session in the form that ``wakelog show --json`` prints."""
        return {
            "id": self.id,
            "start": None if self.start is None else rfc3339(self.start),
            "duration_ms": self.duration_ms,
            "runs": [run.to_dict() for run in self.runs],
            "steps": [step.to_dict() for step in self.steps],
        }


@dataclass(slots=True)
class View:
    """The complete view.

    Attributes:
        sessions: The conversations, by time.
        other_records: The records without a run and a conversation, by time.
    """

    sessions: list[Session] = field(default_factory=list)
    other_records: list[Step] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the view in the form that ``wakelog show --json`` prints."""
        return {
            "sessions": [session.to_dict() for session in self.sessions],
            "other_records": [step.to_dict() for step in self.other_records],
        }


def every_step(steps: Iterable[Step]) -> Iterable[Step]:
    """Yield steps and everything inside them, in the order of the tree."""
    waiting = [*steps][::-1]
    while waiting:
        step = waiting.pop()
        yield step
        if step.steps:
            waiting += step.steps[::-1]


def _extent(session: Session) -> tuple[int | None, int | None]:
    """Return the first and the last time of a session's steps."""
    times: list[int] = []
    for step in every_step([*session.runs, *session.steps]):
        if step.start is not None:
            times.append(step.start)
        if step.end is not None:
            times.append(step.end)
    return (min(times), max(times)) if times else (None, None)


def _milliseconds(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else round((end - start) / _MILLISECOND, 3)
