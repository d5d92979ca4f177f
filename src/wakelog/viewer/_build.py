"""Building the view from records: parents, and steps that ended or did not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wakelog.events import EVENT_TYPES, described, event_type_of, repeats
from wakelog.events import semconv as s
from wakelog.index import held_at, sources_of
from wakelog.journal import is_owned, signal_of
from wakelog.journal import read as read_journal
from wakelog.record import LOGS, Record
from wakelog.viewer._model import RUN, RUNNING, UNKNOWN, Session, Step, View
from wakelog.viewer._summary import exception_of, level_of, message_of, name_of, summary_of
from wakelog.viewer._totals import usage_in

_CLOSES: Final = {
    "run_end": RUN,
    "model_response": "model_call",
    "tool_result": "tool_call",
}
_OPENS: Final = frozenset(_CLOSES.values())
_STARTED: Final = "started"
# A step at a greater depth is placed directly under its run, so that neither a cycle of parents nor
# a runaway recursion creates a tree that is too deep.
_DEEPEST = 100


@dataclass(slots=True, eq=False)
class _Node:
    """A step with the data that determines its place in the tree."""

    step: Step
    attributes: dict[str, Any]
    body: object
    parent: str | None
    run: str | None
    session: str | None
    folder: Path | None
    open: bool


class ViewBuilder:
    """Builds sessions, runs and steps from records.

    Records may come in any order; ``view`` determines the nesting by their ids.

    Args:
        run: Keep only runs whose ids begin with this text, with everything inside them.
        session: Keep only conversations whose ids begin with this text.
        attributes: Whether steps keep the attributes of their records.
    """

    def __init__(
        self, *, run: str | None = None, session: str | None = None, attributes: bool = False
    ) -> None:
        self._run, self._session, self._attributes = run, session, attributes
        self._nodes: list[_Node] = []
        # Steps by each id that a parent reference may name: that of the record that began the step,
        # and that of the one that ended it.
        self._by_id: dict[str, _Node] = {}
        self._runs: dict[str, _Node] = {}
        self._late: list[_Node] = []
        # The open steps, for closing records that do not name their opening record.
        self._unended: defaultdict[tuple[str, str | None], dict[_Node, None]] = defaultdict(dict)

    def add(self, record: Record, folder: Path | None = None) -> None:
        """Add one record.

        Args:
            record: The record.
            folder: The folder of its writer, which shows whether open steps are still running.
        """
        attributes = record.attributes
        run, session = _word(attributes, s.RUN_ID), _word(attributes, s.CONVERSATION_ID)
        parent = _word(attributes, s.PARENT_ID)
        if not self._wanted(run, session, parent):
            return
        event_type = _type_of(record)
        if repeats(record):
            return
        kind = RUN if event_type == "run_start" else event_type
        start = record.timestamp if record.timestamp is not None else record.observed_timestamp
        step = Step(
            id=record.id,
            type=kind,
            name=name_of(event_type, attributes),
            agent=_word(attributes, s.AGENT_NAME),
            start=start,
            status=_word(attributes, s.STATUS),
            level=level_of(record),
            trace_id=record.trace_id if isinstance(record.trace_id, str) else None,
            span_id=record.span_id if isinstance(record.span_id, str) else None,
        )
        opens = kind in _OPENS
        node = _Node(step, attributes, record.body, parent, run, session, folder, opens)
        if kind in _CLOSES:
            if not self._close(node):
                self._late.append(node)
        elif kind == RUN and run is not None:
            self._begin_run(run, node)
        else:
            self._keep(node)

    def view(self) -> View:
        """Determine the nesting, and return the view."""
        for node in self._late:
            if not self._close(node):
                self._keep(node)  # its opening record is missing, so it becomes a step itself
        self._late.clear()
        living: dict[Path, bool] = {}
        for node in self._nodes:
            self._finish(node, living)
        sessions: dict[str | None, Session] = {}
        others: list[Step] = []
        for node in list(self._nodes):
            above = self._above(node)
            if above is not None:
                above.step.steps.append(node.step)
            elif node.step.type == RUN:
                sessions.setdefault(node.session, Session(node.session)).runs.append(node.step)
            elif node.session is not None:
                sessions.setdefault(node.session, Session(node.session)).steps.append(node.step)
            else:
                others.append(node.step)
        for siblings in (
            others,
            *(node.step.steps for node in self._nodes),
            *(steps for session in sessions.values() for steps in (session.runs, session.steps)),
        ):
            siblings.sort(key=lambda step: step.start or 0)
        return View(sorted(sessions.values(), key=lambda session: session.start or 0), others)

    def _wanted(self, run: str | None, session: str | None, parent: str | None) -> bool:
        if self._run is None and self._session is None:
            return True
        if parent in self._by_id or run in self._runs:
            return True
        return (self._run is None or (run or "").startswith(self._run)) and (
            self._session is None or (session or "").startswith(self._session)
        )

    def _keep(self, node: _Node) -> None:
        self._nodes.append(node)
        self._by_id.setdefault(node.step.id, node)
        if node.run is not None and node.run not in self._runs:
            self._imply_run(node)
        if node.open:
            self._unended[node.step.type, node.run][node] = None

    def _begin_run(self, run: str, node: _Node) -> None:
        """Add the start of a run, or the resumption of one by another process."""
        known = self._runs.get(run)
        self._by_id[node.step.id] = node if known is None else known
        if known is None:
            self._runs[run] = node
            node.step.id = run
            self._nodes.append(node)
            return
        known.open = True
        known.folder = node.folder
        known.parent = known.parent or node.parent
        known.session = known.session or node.session
        known.attributes = {**node.attributes, **known.attributes}
        known.step.name = known.step.name or node.step.name
        known.step.agent = known.step.agent or node.step.agent
        known.step.end, known.step.status = None, node.step.status
        if node.step.start is not None:
            known.step.start = min(node.step.start, known.step.start or node.step.start)

    def _imply_run(self, node: _Node) -> None:
        """Create a run of which only the id was recorded."""
        if node.run is None:
            return
        step = Step(id=node.run, type=RUN, agent=node.step.agent, start=node.step.start)
        implied = _Node(step, {}, None, None, node.run, node.session, node.folder, open=False)
        self._runs[node.run] = implied
        self._nodes.append(implied)

    def _close(self, node: _Node) -> bool:
        """End the step that a closing record belongs to; return whether there is one."""
        opened = self._opened_by(node)
        if opened is None:
            return False
        opened.open = False
        opened.step.end = node.step.start
        opened.step.status = node.step.status
        opened.attributes = {**opened.attributes, **node.attributes}
        self._by_id.setdefault(node.step.id, opened)
        self._unended[opened.step.type, opened.run].pop(opened, None)
        return True

    def _opened_by(self, node: _Node) -> _Node | None:
        kind = _CLOSES[node.step.type]
        named = self._by_id.get(node.parent) if node.parent is not None else None
        if named is not None and named.step.type == kind and named.open:
            return named
        if kind == RUN:
            known = self._runs.get(node.run) if node.run is not None else None
            return known if known is not None and known.open else None
        # Without a parent, events answer each other in order: the first open step that matches.
        call = _word(node.attributes, s.TOOL_CALL_ID)
        for waiting in self._unended[kind, node.run]:
            if waiting.parent != node.parent:
                continue
            if call is not None and call == _word(waiting.attributes, s.TOOL_CALL_ID):
                return waiting
            if call is None and node.step.name in (None, waiting.step.name):
                return waiting
        return None

    def _finish(self, node: _Node, living: dict[Path, bool]) -> None:
        """Set the parts of a step that depend on later records."""
        step = node.step
        event_type = "run_start" if step.type == RUN else step.type
        step.summary = summary_of(event_type, node.attributes, node.body)
        step.exception = exception_of(node.attributes)
        step.usage, step.cost_usd = usage_in(node.attributes)
        if event_type not in EVENT_TYPES or event_type == "custom":
            step.message = message_of(node.attributes, node.body)
        whole = s.USAGE_OUTPUT_TOKENS in node.attributes  # a call and its answer in one record
        if node.open and step.status in (None, _STARTED) and not whole:
            step.status = RUNNING if _is_living(node.folder, living) else UNKNOWN
        if step.type == "error" and step.status is None:
            step.status = "error"
        if self._attributes:
            step.attributes, step.body = node.attributes, node.body

    def _above(self, node: _Node) -> _Node | None:
        """Return the parent of a step in the tree; None for a top-level step."""
        parent = self._parent(node)
        ancestor, height = parent, 0
        while ancestor is not None:
            height += 1
            if ancestor is node or height > _DEEPEST:
                parent = None
                break
            ancestor = self._parent(ancestor)
        if parent is not None or node.step.type == RUN:
            return parent
        run = self._runs.get(node.run) if node.run is not None else None
        return run if run is not node else None

    def _parent(self, node: _Node) -> _Node | None:
        parent = self._by_id.get(node.parent) if node.parent is not None else None
        if parent is None and node.step.type != RUN and node.run is not None:
            parent = self._runs.get(node.run)
        return parent if parent is not node else None


def load(
    path: Path, *, run: str | None = None, session: str | None = None, attributes: bool = False
) -> View:
    """Read a journal and build its view.

    Args:
        path: A journal directory, one writer's folder, or a file of lines.
        run: Keep only runs whose ids begin with this text, with everything inside them.
        session: Keep only conversations whose ids begin with this text.
        attributes: Whether steps keep the attributes of their records.

    Returns:
        The view. Damaged lines are skipped.

    Raises:
        JournalError: If there is nothing to read, or reading fails.
    """
    builder = ViewBuilder(run=run, session=session, attributes=attributes)
    for source, folder in _sources(path):
        for entry in read_journal(source):
            builder.add(described(entry.record), folder)
    return builder.view()


def _sources(path: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yield the sources to read, writer by writer, each with the writer's folder or None."""
    if not path.is_dir():
        yield path, None  # reading it tells what is wrong with it
        return
    held = held_at(path)
    if not held.is_journal:
        yield from ((source.path, None) for source in sources_of(held))
    elif held.only is not None:
        yield held.root / held.only, held.root / held.only
    else:
        # Spans are left out, because they repeat the events that are recorded inside them.
        yield from ((writer, writer) for writer in held.writers if signal_of(writer) == LOGS)


def _is_living(folder: Path | None, known: dict[Path, bool]) -> bool:
    """Tell whether the process that writes a folder is alive."""
    if folder is None:
        return False
    if folder not in known:
        # If that cannot be determined, the outcome of an open step is unknown.
        known[folder] = is_owned(folder) is True
    return known[folder]


def _type_of(record: Record) -> str:
    name = record.event_name
    if not isinstance(name, str) or not name:
        return "log"
    return event_type_of(name)


def _word(attributes: dict[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    return value if isinstance(value, str) and value else None
