"""Follow a journal: one line for each event, as it is recorded.

It follows every writer of a directory, including new ones, and a single file across its rotation.
Filters select the events to print. Ctrl-C ends it with exit code 130, SIGTERM with 0.

With --json every event is one line of JSON with "id", "writer", "seq", "timestamp" (RFC 3339 in
UTC), "event_name", "severity_number", "severity_text", "body", "attributes", "trace_id" and
"span_id". Values that a record does not have are left out. For a log record, the body is its
message, the severity is its level, and the attributes "exception.type" and "exception.message" are its
exception.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import Any

from wakelog._printable import printable
from wakelog.cli._ansi import drawn, is_coloured
from wakelog.cli._filters import add_filters, selection_of, test_of
from wakelog.cli._follow import Followed, follow
from wakelog.cli._paths import add_path, print_json, source_of
from wakelog.cli._place import is_empty_file
from wakelog.cli._signals import until_asked
from wakelog.cli._terminal import width
from wakelog.events import EVENT_TYPES, described, event_type_of
from wakelog.events import semconv as s
from wakelog.record import SPAN, Record, parse_rfc3339, rfc3339, to_line
from wakelog.viewer import (
    exception_line,
    exception_of,
    level_of,
    message_of,
    name_of,
    one_line,
    summary_of,
)
from wakelog.viewer.tree import clock_time, level_style

_POLL_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument("--from-start", action="store_true", help="begin with the existing events")
    add_filters(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Follow a journal until a signal stops it.

    Raises:
        JournalError: If the path does not exist, or is neither a journal nor a file of lines.
    """
    path = source_of(arguments, grows=True)
    empty = is_empty_file(path)
    if empty:
        named = printable(str(path))
        sys.stderr.write(f"wakelog: {named} is an empty file; waiting for its first line\n")
    # A line that was written since is_empty_file() looked is shown, too.
    source = follow(path, from_start=arguments.from_start or empty)
    show = _print_json if arguments.json else _print_text
    wanted = test_of(selection_of(arguments))
    with until_asked(signal.SIGTERM) as stop:
        while not stop.asked:
            found = source.read()
            for one in found:
                record = described(one.record)
                if wanted is None or wanted(record, one.writer):
                    show(one._replace(record=record))
            sys.stdout.flush()
            if not found:
                time.sleep(_POLL_SECONDS)
    return 0


def _print_json(one: Followed) -> None:
    print_json(record_dict(one.record, one.writer), indent=False)


def record_dict(record: Record, writer: str | None) -> dict[str, Any]:
    """Return a record in the form that ``--json`` prints."""
    fields: dict[str, Any] = {
        "id": record.id,
        "writer": writer,
        "seq": record.seq,
        "timestamp": None if record.timestamp is None else rfc3339(record.timestamp),
        "signal": record.signal or None,
        "span": record.span,
        "event_name": record.event_name,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text,
        "body": to_line(record.body),
        "attributes": to_line(record.attributes) or None,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _print_text(one: Followed) -> None:
    parts = [(printable(text), style) for text, style in _line(one.record)]
    cut = width() if sys.stdout.isatty() else None
    sys.stdout.write(drawn(parts, coloured=is_coloured(), width=cut) + "\n")


def _line(record: Record) -> list[tuple[str, str]]:
    attributes = record.attributes
    if record.signal == SPAN:
        return _span_line(record)
    name = record.event_name if isinstance(record.event_name, str) else "log"
    kind = event_type_of(name)
    agent = attributes.get(s.AGENT_NAME)
    status = attributes.get(s.STATUS)
    time = record.timestamp if record.timestamp is not None else record.observed_timestamp
    parts = [
        (clock_time(time), "dim"),
        (f"  {one_line(agent, 20) if isinstance(agent, str) else '-':<14}", "cyan"),
        (f"  {one_line(kind, 40):<16}", _STYLES.get(str(status), "none")),
    ]
    logged = kind not in EVENT_TYPES or message_of(attributes, record.body) is not None
    if logged and (level := level_of(record)) is not None:
        parts.append((f"  {one_line(level, 20)}", level_style(level)))
    summary = summary_of(kind, attributes, record.body)
    said = (name_of(kind, attributes), status, summary)
    parts += [(f"  {one_line(word)}", "none") for word in said if isinstance(word, str) and word]
    exception = exception_of(attributes)
    if exception is not None and (told := exception_line(exception)) not in summary:
        parts.append((f"  {told}", "red"))
    return parts


def _span_line(record: Record) -> list[tuple[str, str]]:
    about = record.span or {}
    status = str(about.get("status", "")).lower()
    began = parse_rfc3339(about["start"]) if "start" in about else record.timestamp
    took = ((record.timestamp or 0) - (began or 0)) / 1e6
    return [
        (clock_time(record.timestamp), "dim"),
        (f"  {'-':<14}", "cyan"),
        (f"  {'span':<16}", _STYLES.get(status, "none")),
        (f"  {one_line(str(about.get('name', '')))}  {took:.1f} ms  {status}".rstrip(), "none"),
    ]


_STYLES = {"error": "red", "success": "green", "started": "bold"}
