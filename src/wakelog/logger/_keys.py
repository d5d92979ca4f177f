"""Events with a key, which are recorded once even if the code is replayed.

A durable-execution engine runs a workflow's code again after a crash, with every call that records.
The id of an event with an ``event_key`` is derived from the run, the key and the type, and never
from content. Whether it has been recorded is looked up in the run's own lines.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from wakelog import context
from wakelog.errors import JournalError
from wakelog.events import AgentEvent, attributes_of
from wakelog.events import semconv as s
from wakelog.record import Record, from_line, sha256, to_line
from wakelog.runtime import ForkOrder, reset_in_child

_log = logging.getLogger("wakelog")

MOST_KEYS: Final = 100_000
_MOST_RUNS: Final = 64
# Attributes whose values differ between repetitions of the same event.
_VOLATILE: Final = frozenset(
    {
        s.PARENT_ID,
        s.LOG_RECORD_UID,
        s.RESPONSE_TIME_TO_FIRST_CHUNK,
        s.EXCEPTION_STACKTRACE,
        s.COST_USD,
        s.COST_PRICES,
    }
)


class Earlier(NamedTuple):
    """An event that was recorded earlier under a key.

    Attributes:
        digest: The digest of its content.
        span_context: Trace id, span id and flags of its span, None without one.
    """

    digest: bytes
    span_context: tuple[int, int, int] | None


class RecordedKeys:
    """The keyed events, for one sink, of the runs that this process has read.

    ``_lock`` guards them. At the first keyed event of a run, lines are read under it, because other
    events of the run have to wait for that in any case.

    Args:
        paths: The journals and files with the sink's records.

    Attributes:
        counts: How many events were ``repeated``, and so not recorded again; and how many of them
            had ``other_content`` than the first one, which stays.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._runs: OrderedDict[str, dict[str, Earlier]] = OrderedDict()
        self.counts: Counter[str] = Counter()
        self._make_lock()
        reset_in_child(self._make_lock, ForkOrder.LOCKS)

    def _make_lock(self) -> None:
        self._lock = threading.RLock()

    def knows(self, run_id: str) -> bool:
        """Return whether the lines of a run have been read."""
        return run_id in self._runs

    def earlier(self, run_id: str, event_id: str) -> Earlier | None:
        """Return the event that was recorded under an id, None if there is none."""
        with self._lock:
            return self._of(run_id).get(event_id)

    def take(self, event: AgentEvent) -> bool:
        """Register the id of an event that is about to be recorded.

        Returns:
            Whether the id is new; else the event was recorded before, and must not be recorded
            again.
        """
        digest = _digest(attributes_of(event))
        with self._lock:
            known = self._of(event.run_id)
            earlier = known.get(event.event_id)
            if earlier is None:
                if len(known) < MOST_KEYS:
                    known[event.event_id] = Earlier(digest, event.span_context)
                return True
            self.counts["repeated"] += 1
            if earlier.digest == digest:
                return False
            self.counts["other_content"] += 1
            first = self.counts["other_content"] == 1
        if first:
            _log.warning(
                "event_key=%r of run %s was recorded before with other content; the first stays. Code "
                "that is replayed has to do the same each time. Further ones are only counted",
                event.event_key,
                event.run_id,
            )
        return False

    def give_back(self, event: AgentEvent) -> None:
        """Undo ``take``, for an event that could not be recorded."""
        with self._lock:
            self._of(event.run_id).pop(event.event_id, None)

    def _of(self, run_id: str) -> dict[str, Earlier]:
        known = self._runs.get(run_id)
        if known is None:
            try:
                known = dict(self._read(run_id))
            except JournalError as error:
                known = {}
                _log.warning(
                    "the keyed events that were recorded for run %s cannot be read, so they may be "
                    "recorded again: %s",
                    run_id,
                    error,
                )
            self._runs[run_id] = known
            if len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        self._runs.move_to_end(run_id)
        return known

    def _read(self, run_id: str) -> Iterable[tuple[str, Earlier]]:
        from wakelog.journal import holding, read

        text = orjson.dumps(run_id)
        left = MOST_KEYS
        for path in self._paths:
            for where in holding(path, text):
                for entry in read(where, where={s.RUN_ID: run_id}):
                    if left and s.EVENT_KEY in entry.record.attributes:
                        left -= 1
                        yield entry.record.id, _earlier(entry.record)


def prepare_keys() -> None:
    """Load what the first event with a key needs: an import then may coincide with a fork."""
    sha256()
    from wakelog.journal import holding, read  # noqa: F401


def keys_of(sink: object) -> RecordedKeys:
    """Return the keys of a sink, shared by all its loggers."""
    with _making:
        known = _known.get(sink)
        if known is None:
            paths: Iterable[Path] = getattr(sink, "paths", ())
            known = _known[sink] = RecordedKeys(paths)
        return known


_known: weakref.WeakKeyDictionary[object, RecordedKeys] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - a forked child may have inherited it locked
    _making = threading.Lock()


reset_in_child(_after_fork, ForkOrder.LOCKS)


def full_key(event_key: str, run_id: str | None) -> str:
    """Return an event's key with the bound prefix.

    Raises:
        TypeError: If there is no run, which is a part of the key, or one of both is no text.
    """
    if run_id is None:
        message = (
            f"event_key={event_key!r} tells events of one run apart, and none is open: give run_id=, "
            "the id that the engine has for the workflow"
        )
        raise TypeError(message)
    for name, value in (("event_key", event_key), ("run_id", run_id)):
        if not isinstance(value, str):
            message = f"{name}={value!r} is of type {type(value).__name__}; give text"
            raise TypeError(message)
    prefix = context.event_key.get()
    return event_key if prefix is None else f"{prefix}/{event_key}"


def _earlier(record: Record) -> Earlier:
    span = None
    if record.trace_id and record.span_id:
        span = int(record.trace_id, 16), int(record.span_id, 16), record.trace_flags
    return Earlier(_digest(record.attributes), span)


def _digest(attributes: Mapping[str, Any]) -> bytes:
    said = {name: value for name, value in attributes.items() if name not in _VOLATILE}
    # In the form of a decoded line, so that recorded and new events have the same digest.
    text = orjson.dumps(to_line(from_line(to_line(said))), option=orjson.OPT_SORT_KEYS)
    return sha256(text).digest()[:8]
