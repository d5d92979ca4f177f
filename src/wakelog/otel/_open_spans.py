"""The open spans of this process: those that have started and not ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeAlias

from opentelemetry.sdk.trace import ReadableSpan

from wakelog.errors import JournalError
from wakelog.journal import Journal, inherit, show_sign_of_life
from wakelog.otel._idle_spans import IdleSpans
from wakelog.record import Resource
from wakelog.runtime import Alarm, Background, ForkOrder, reset_in_child

_SIGN_SECONDS = 10.0
# The number of checks for idle spans within their limit.
_LOOKS = 4
Start: TypeAlias = tuple[str, bytes, Resource]
"""The line of a span's start: its id, its middle part, and the span's resource on disk."""


class SpanTracker:
    """Stores the starts of open spans, repeats them in each new segment, and shows signs of life.

    Delivered segments may be deleted, so each segment has the starts of all spans that were open
    when it began. While a span is open, a thread touches the lock files of the writers' folders:
    their modification time is the last sign of life that a killed process leaves.

    Args:
        journal_of: Returns the journal, None before it is open.
        refused: Called with the error when a start could not be repeated.
        idle: Finds idle spans, if they are to be ended.
    """

    def __init__(
        self,
        journal_of: Callable[[], Journal | None],
        refused: Callable[[Exception], None],
        idle: IdleSpans | None = None,
    ) -> None:
        self._journal_of, self._refused, self._idle = journal_of, refused, idle
        # In a forked child: the spans of its ancestors that have not ended here, and the descriptors
        # that keep other processes from ending them meanwhile.
        self.inherited: set[int] = set()
        self._kept: list[int] = []
        self._reset()
        # First of all, while the child still has the descriptors that lock the parent's folders.
        reset_in_child(self._inherit, ForkOrder.IDENTITY)
        reset_in_child(self._reset, ForkOrder.THREADS)

    def _inherit(self) -> None:
        journal = self._journal_of()
        if journal is not None and self._starts:
            self.inherited.update(self._starts)
            kept = [inherit(writer.folder.path) for writer in journal.open_writers]
            self._kept += [descriptor for descriptor in kept if descriptor >= 0]

    def end_inherited(self, span_id: int) -> None:
        """Note that the end of a span of an ancestor has been written, if it is one."""
        self.inherited.discard(span_id)
        if not self.inherited:
            kept, self._kept = self._kept, []
            for descriptor in kept:
                os.close(descriptor)

    def _reset(self) -> None:
        """Reset everything: at the start, and in a forked child, which has none of these spans."""
        self._starts: dict[int, Start] = {}
        if self._idle is not None:
            self._idle.clear()
        self._repeating = threading.local()
        self._alarm = Alarm()
        self._thread = Background(self._show_life, "wakelog-open-spans", self._alarm)

    def __len__(self) -> int:
        """Return the number of open spans."""
        return len(self._starts)

    def add(self, span_id: int, start: Start, span: ReadableSpan) -> None:
        """Add the start of a span, before it is written."""
        self._starts[span_id] = start
        if self._idle is not None:
            self._idle.add(span_id, span)
        if not self._thread.running:
            self._thread.start()

    def remove(self, span_id: int) -> Start | None:
        """Remove a span before its end is written, and return its start."""
        if self._idle is not None:
            self._idle.remove(span_id)
        return self._starts.pop(span_id, None)

    def repeat(self) -> None:
        """Write the starts of all open spans into the segment that has just begun."""
        journal = self._journal_of()
        # Repeated starts may begin another segment; it gets only the starts that are left.
        if journal is None or getattr(self._repeating, "now", False):
            return
        if all(writer.open_segment in (None, 1) for writer in journal.open_writers):
            return
        self._repeating.now = True
        try:
            for span_id, start in list(self._starts.items()):
                if span_id in self._starts:
                    journal.append(*start, counted=False)
        except JournalError as error:
            self._refused(error)
        finally:
            self._repeating.now = False

    def _show_life(self) -> None:
        pause = _SIGN_SECONDS
        if self._idle is not None:
            pause = min(pause, self._idle.limit / _LOOKS)
        while self._starts:
            journal = self._journal_of()
            for writer in () if journal is None else journal.open_writers:
                show_sign_of_life(writer.folder.path)
            if self._idle is not None:
                try:
                    self._idle.check()
                except Exception as error:  # noqa: BLE001 - counted; signs of life must continue
                    self._refused(error)
            self._alarm.wait(pause)
