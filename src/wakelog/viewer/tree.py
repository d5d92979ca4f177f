"""The view as a tree for the terminal. Needs rich, the extra ``cli``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rich.text import Text
from rich.tree import Tree

from wakelog.viewer._model import RUN, RUNNING, UNKNOWN, Session, Step, View
from wakelog.viewer._summary import one_line

_LONGEST = 80
_SECOND_MS = 1_000.0
_MINUTE_MS = 60_000.0

# How a status looks: the mark before the step, and its colour.
_LOOKS: Final = {
    None: ("·", "dim"),
    UNKNOWN: ("?", "bold yellow"),
    RUNNING: ("…", "cyan"),
    "success": ("✓", "green"),
    "error": ("✗", "red"),
    "cancelled": ("✗", "yellow"),
}
_OWN_WORD: Final = ("•", "")
# Types that are called by a shorter word.
_WORDS: Final = {RUN: "run", "tool_call": "tool", "model_call": "model"}


def render(view: View) -> Tree:
    """Draw a view.

    Args:
        view: What ``wakelog.viewer.load`` returned.

    Returns:
        A tree for ``rich.console.Console.print``: one branch a session, and one with the other
        records where there are any. Texts are cut to 80 characters.
    """
    root = Tree("", hide_root=True, guide_style="dim")
    for session in view.sessions:
        branch = root.add(_session_line(session))
        for step in session.runs:
            _add(branch, step)
        for step in session.steps:
            _add(branch, step)
    if view.other_records:
        branch = root.add(_line(("Other records", "bold")))
        for step in view.other_records:
            _add(branch, step, clock=True)
    return root


def duration(milliseconds: float) -> str:
    """Write a duration as people say it: ``312 ms``, ``6.2 s``, ``3 min 4 s``."""
    if milliseconds < 1:
        return f"{milliseconds:.2f} ms"
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.0f} ms"
    if milliseconds < _MINUTE_MS:
        return f"{milliseconds / _SECOND_MS:.1f} s"
    minutes, rest = divmod(milliseconds, _MINUTE_MS)
    return f"{minutes:.0f} min {rest // _SECOND_MS:.0f} s"


def clock_time(nanoseconds: int | None, *, date: bool = False) -> str:
    """Write a time in UTC, to the millisecond or, with the date, to the second."""
    try:
        moment = datetime.fromtimestamp((nanoseconds or 0) / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
    if date:
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _session_line(session: Session) -> Text:
    title = "Without a session" if session.id is None else f"Session {one_line(session.id)}"
    details = [clock_time(session.start, date=True)] if session.start is not None else []
    if session.duration_ms is not None:
        details.append(duration(session.duration_ms))
    if len(session.runs) != 1:
        details.append(f"{len(session.runs)} runs")
    return _line((title, "bold"), (" · ".join(details), "dim"))


def _add(branch: Tree, step: Step, *, clock: bool = False) -> None:
    below = branch.add(_step_line(step, clock=clock))
    for inner in step.steps:
        _add(below, inner)


def _step_line(step: Step, *, clock: bool) -> Text:
    mark, style = _LOOKS.get(step.status, _OWN_WORD)
    word = _WORDS.get(step.type, one_line(step.type))
    name = one_line(step.name or "", _LONGEST)
    parts = [(clock_time(step.start), "dim")] if clock else []
    parts += [(f"{mark} {word}", style or "none"), (name, "bold")]
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


def _line(*parts: tuple[str, str]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for text, style in parts:
        if text:
            line.append(("  " if line else "") + text, style=style)
    return line
