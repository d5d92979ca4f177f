"""The view as a tree for the terminal: lines of styled texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from wakelog._printable import printable
from wakelog.events import EVENT_TYPES
from wakelog.viewer._content import content_of
from wakelog.viewer._model import RUN, RUNNING, UNKNOWN, Session, Step, View
from wakelog.viewer._summary import exception_line, one_line
from wakelog.viewer._totals import totals

if TYPE_CHECKING:
    Line = list[tuple[str, str]]  # texts and their styles

_LONGEST = 80
_SECOND_MS = 1_000.0
_MINUTE_MS = 60_000.0

# The mark and the colour of a status.
_LOOKS: Final = {
    None: ("·", "dim"),
    UNKNOWN: ("?", "bold yellow"),
    RUNNING: ("…", "cyan"),
    "success": ("✓", "green"),
    "error": ("✗", "red"),
    "cancelled": ("✗", "yellow"),
}
_LEVEL_STYLES: Final = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}
_OWN_WORD: Final = ("•", "")
# Shorter words for types.
_WORDS: Final = {RUN: "run", "tool_call": "tool", "model_call": "model"}


def lines(view: View, *, full: bool = False) -> Iterator[Line]:
    """Yield the lines of a view, as styled texts that are safe for a terminal.

    Args:
        view: The view, for example of ``wakelog.viewer.load``.
        full: Whether everything recorded of a step is printed below it, without cutting. The view
            must have been built with attributes.
    """
    for title, steps, clock in _branches(view):
        yield title
        yield from _below(steps, "", clock=clock, full=full)


def _below(steps: list[Step], guide: str, *, full: bool, clock: bool = False) -> Iterator[Line]:
    for step in steps:
        branch = "└── " if step is steps[-1] else "├── "
        yield [(guide + branch, "dim"), *_step_line(step, clock=clock)]
        below = guide + ("    " if step is steps[-1] else "│   ")
        more = "│ " if step.steps else "  "
        if full:
            for label, text in content_of(step):
                yield [(below + more, "dim"), (f"{printable(label)}:", "bold")]
                for part in text.splitlines() or [""]:
                    yield [(below + more + "  ", "dim"), (printable(part), "")]
        elif (told := _exception_line(step)) is not None:
            yield [(f"{below}{'├──' if step.steps else '└──'} ", "dim"), *told]
        yield from _below(step.steps, below, full=full)


def _used(session: Session) -> list[str]:
    """Return the usage of a session's calls as texts; empty if no record states it."""
    found = totals(View([session])).all
    read, written = found.usage["input_tokens"], found.usage["output_tokens"]
    said = [f"{read:,} → {written:,} tokens"] if read or written else []
    return [*said, f"${found.cost_usd:,.4f}"] if found.unpriced < found.calls else said


def _branches(view: View) -> Iterator[tuple[Line, list[Step], bool]]:
    """Yield each branch: its title, its steps, and whether to show their time of day."""
    for session in view.sessions:
        yield _session_line(session), [*session.runs, *session.steps], False
    if view.other_records:
        yield _line(("Other records", "bold")), view.other_records, True


def duration(milliseconds: float) -> str:
    """Format a duration: ``312 ms``, ``6.2 s``, ``3 min 4 s``."""
    if milliseconds < 1:
        return f"{milliseconds:.2f} ms"
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.0f} ms"
    if milliseconds < _MINUTE_MS:
        return f"{milliseconds / _SECOND_MS:.1f} s"
    minutes, rest = divmod(milliseconds, _MINUTE_MS)
    return f"{minutes:.0f} min {rest // _SECOND_MS:.0f} s"


def clock_time(nanoseconds: int | None, *, date: bool = False) -> str:
    """Format a time in UTC, to the millisecond or, with the date, to the second."""
    try:
        moment = datetime.fromtimestamp((nanoseconds or 0) / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
    if date:
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def level_style(level: str) -> str:
    """Return the colour of a severity."""
    return _LEVEL_STYLES.get(level.upper().rstrip("234"), "none")


def _session_line(session: Session) -> Line:
    title = "Without a session" if session.id is None else f"Session {one_line(session.id)}"
    details = [clock_time(session.start, date=True)] if session.start is not None else []
    if session.duration_ms is not None:
        details.append(duration(session.duration_ms))
    if len(session.runs) != 1:
        details.append(f"{len(session.runs)} runs")
    details += _used(session)
    return _line((title, "bold"), (" · ".join(details), "dim"))


def _step_line(step: Step, *, clock: bool) -> Line:
    mark, style = _LOOKS.get(step.status, _OWN_WORD)
    word = _WORDS.get(step.type, one_line(step.type))
    name = one_line(step.name or "", _LONGEST)
    parts = [(clock_time(step.start), "dim")] if clock else []
    parts += [(f"{mark} {word}", style or "none"), (name, "bold")]
    logged = step.message is not None or step.type not in (RUN, *EVENT_TYPES)
    if logged and step.level is not None:
        parts.append((one_line(step.level), level_style(step.level)))
    if step.type == RUN:
        parts.append((step.id[:18], "dim"))
    if step.status == UNKNOWN:
        parts.append(("outcome unknown", style))
    elif step.status == RUNNING:
        parts.append(("running", style))
    elif step.status not in (None, "success"):
        parts.append((one_line(step.status or ""), style or "none"))
    if step.duration_ms is not None:
        parts.append((duration(step.duration_ms), "cyan"))
    parts.append((one_line(step.summary, _LONGEST), "none"))
    return _line(*parts)


def _exception_line(step: Step) -> Line | None:
    """Return the exception of a step, except for an error event, whose own line has it."""
    if step.exception is None or step.type == "error":
        return None
    return _line(("✗ " + exception_line(step.exception), "red"))


def _line(*parts: tuple[str, str]) -> Line:
    said = [(printable(text), style) for text, style in parts if text]
    return [("  " + text if place else text, style) for place, (text, style) in enumerate(said)]
