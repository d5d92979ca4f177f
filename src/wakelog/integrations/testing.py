"""``Recording``: events of an agent under test. ``RecordedRun``: responses from a recorded run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from wakelog.events import AgentEvent
from wakelog.integrations._recorded_answer import RecordedError, UnrecordedCallError
from wakelog.integrations._recorded_run import RecordedRun
from wakelog.logger import AgentLogger, AsyncAgentLogger
from wakelog.sinks import MemorySink

__all__ = ["RecordedError", "RecordedRun", "Recording", "UnrecordedCallError"]

_Log = TypeVar("_Log", AgentLogger, AsyncAgentLogger)

_START_NS: Final = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
_STEP_NS: Final = 1_000_000


class Recording:
    """Stores events in memory, with ids that count up from 1, and one millisecond between events.

    Attributes:
        log: A logger that records here, for ``test-agent``.
        events: The recorded events, in order.
    """

    def __init__(self) -> None:
        self._sink = MemorySink()
        self._ids = (f"00000000-0000-7000-8000-{n:012d}" for n in itertools.count(1))
        self._times = itertools.count(_START_NS, _STEP_NS)
        self.log = self.capture(AgentLogger("test-agent"))

    @property
    def events(self) -> list[AgentEvent]:
        """The recorded events, in order."""
        return self._sink.events

    @property
    def types(self) -> list[str]:
        """The types of the recorded events, in order."""
        return [event.event_type for event in self.events]

    def capture(self, log: _Log) -> _Log:
        """Make a logger record here, with the ids and times of this recording.

        Args:
            log: Any logger; it stays captured.

        Returns:
            The same logger.
        """
        make, run = log.event, log.run

        def event(event_type: str, payload: Any = None, **fields: Any) -> AgentEvent:
            if fields.get("event_id") is None:
                fields["event_id"] = next(self._ids)
            if fields.get("time_unix_nano") is None and fields.get("timestamp") is None:
                fields["time_unix_nano"] = next(self._times)
            return make(event_type, payload, **fields)

        def opened(*args: Any, **fields: Any) -> Any:
            if fields.get("run_id") is None:
                fields["run_id"] = next(self._ids)
            return run(*args, **fields)

        log.sink = self._sink
        # Instance attributes, so that everything that the logger records comes through here.
        vars(log).update(event=event, run=opened)
        return log

    def of(self, event_type: str, **fields: Any) -> list[AgentEvent]:
        """Return the events of a type.

        Args:
            event_type: The type.
            fields: Required values of fields. A mapping has to contain the given items.

        Returns:
            Those events, in order.
        """
        return [
            event
            for event in self.events
            if event.event_type == event_type
            and all(_matches(getattr(event, name), value) for name, value in fields.items())
        ]

    def one(self, event_type: str, **fields: Any) -> AgentEvent:
        """Return the only event of a type; arguments as for ``of``.

        Raises:
            AssertionError: If there is none, or more than one; the message lists the events.
        """
        found = self.of(event_type, **fields)
        if len(found) != 1:
            asked = "".join(f", {name}={value!r}" for name, value in fields.items())
            shown = "\n".join(f"  {_shown(event, fields)}" for event in self.events) or "  nothing"
            message = f"{len(found)} events are {event_type}{asked}; recorded were\n{shown}"
            raise AssertionError(message)
        return found[0]

    def clear(self) -> None:
        """Remove the events so far; ids and times continue."""
        self.events.clear()


def _matches(actual: object, asked: object) -> bool:
    if isinstance(asked, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and _matches(actual[key], asked[key]) for key in asked)
    return actual == asked


def _shown(event: AgentEvent, fields: Mapping[str, Any]) -> str:
    return " ".join([event.event_type, *(f"{name}={getattr(event, name)!r}" for name in fields)])
