"""Follow a journal: one line for each event, as it is recorded.

It follows every writer of a directory, those that come later too, and a single file over its
rotation. Ctrl-C ends it with the exit code 130, SIGTERM with 0.

With --json every event is one line of JSON with "id", "writer", "seq", "timestamp" (RFC 3339 in
UTC), "event_name", "severity_number", "severity_text", "body", "attributes", "trace_id" and
"span_id". What a record does not have is left out.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from wakelog.cli._follow import Followed, follow
from wakelog.cli._paths import add_path, path_of, print_json
from wakelog.cli._signals import until_asked
from wakelog.events import described
from wakelog.events import semconv as s
from wakelog.record import Record, rfc3339, to_line
from wakelog.viewer import name_of, one_line, summary_of

if TYPE_CHECKING:
    import argparse

    from rich.text import Text

_POLL_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument(
        "--from-start", action="store_true", help="begin with what is there already"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Follow a journal until it is asked to stop.

    Raises:
        JournalError: When there is nothing to follow at the path.
    """
    source = follow(path_of(arguments), from_start=arguments.from_start)
    show = _print_json if arguments.json else _Printer()
    with until_asked(signal.SIGTERM) as stop:
        while not stop.asked:
            found = source.read()
            for one in found:
                show(one._replace(record=described(one.record)))
            sys.stdout.flush()
            if not found:
                time.sleep(_POLL_SECONDS)
    return 0


def _print_json(one: Followed) -> None:
    print_json(record_dict(one.record, one.writer), indent=False)


def record_dict(record: Record, writer: str | None) -> dict[str, Any]:
    """Return a record as plain data, in the shape that ``--json`` prints."""
    fields: dict[str, Any] = {
        "id": record.id,
        "writer": writer,
        "seq": record.seq,
        "timestamp": None if record.timestamp is None else rfc3339(record.timestamp),
        "event_name": record.event_name,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text,
        "body": to_line(record.body),
        "attributes": to_line(record.attributes) or None,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


class _Printer:
    """Prints events for people."""

    def __init__(self) -> None:
        from wakelog.cli._terminal import console

        self._console = console()

    def __call__(self, one: Followed) -> None:
        """Print one event."""
        if self._console.is_terminal:
            self._console.print(self._line(one.record), no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(self._line(one.record), soft_wrap=True)

    def _line(self, record: Record) -> Text:
        from rich.text import Text

        from wakelog.viewer.tree import clock_time

        attributes = record.attributes
        name = record.event_name if isinstance(record.event_name, str) else "log"
        kind = name.removeprefix(s.EVENT_PREFIX)
        agent = attributes.get(s.AGENT_NAME)
        status = attributes.get(s.STATUS)
        time = record.timestamp if record.timestamp is not None else record.observed_timestamp
        line = Text()
        line.append(clock_time(time), "dim")
        line.append(f"  {one_line(agent, 20) if isinstance(agent, str) else '-':<14}", "cyan")
        line.append(f"  {one_line(kind, 40):<16}", _STYLES.get(str(status), "none"))
        for text in (name_of(kind, attributes), status, summary_of(kind, attributes, record.body)):
            if isinstance(text, str) and text:
                line.append(f"  {one_line(text)}")
        return line


_STYLES = {"error": "red", "success": "green", "started": "bold"}
