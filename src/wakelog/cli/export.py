"""Export events as OTLP-JSON lines, CSV, an Agent Audit Trail, or Wakelog's own JSON lines.

The lines of OTLP-JSON, {"resourceLogs": [...]}, are those that the Collector's file exporter writes
and its OTLP-JSON file receiver reads. They have everything that was recorded, including content.
CSV has a row for each event, with a summary of its content. Events are in the order in which they
were written.

--format aat writes the form of the Internet-Draft draft-sharif-agent-audit-trail, in the order of
time, with content as hashes. With --trail-key each record is signed, and --trail-keys writes the
public key for verifiers.

With --json, one JSON object a line, as "wakelog tail --json" prints it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from wakelog._printable import printable_json
from wakelog.cli._filters import add_filters, selection_of
from wakelog.cli._indexed import opened
from wakelog.cli._otlp_json import log_record, resource_of, scope_of
from wakelog.cli._parser import add_file
from wakelog.cli._paths import add_path, json_text, print_json, source_of
from wakelog.cli.tail import record_dict
from wakelog.errors import ConfigurationError, JournalError
from wakelog.events import described, event_type_of
from wakelog.index import Event, ReadEvent
from wakelog.record import rfc3339
from wakelog.runtime import SYSTEM
from wakelog.viewer import message_of, summary_of

_MOST_IN_A_LINE: Final = 100
_COLUMNS: Final = (
    "time", "type", "session", "run", "agent", "tool", "model", "outcome", "error", "severity", "duration_ms",
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens", "cost_usd",
    "trace_id", "span_id", "id", "parent_id", "writer", "summary",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, one writer's folder, or a JSONL file")
    parser.add_argument(
        "--format",
        choices=("otlp", "csv", "aat"),
        default="otlp",
        help="lines of OTLP-JSON, CSV, or an Agent Audit Trail (otlp)",
    )
    add_file(parser, "--trail-key", "for aat: sign with this P-256 key, as PEM")
    add_file(parser, "--trail-keys", "for aat: write the public key here")
    add_filters(parser)
    parser.set_defaults(prints_data=True)
    parser.add_argument(
        "--json", action="store_true", help="print lines of Wakelog's own JSON in place of these"
    )


def run(arguments: argparse.Namespace) -> int:
    """Export events.

    Raises:
        WakelogError: If there is nothing to read, or a key cannot be used.
    """
    if arguments.format != "aat" and (arguments.trail_key or arguments.trail_keys):
        raise ConfigurationError("--trail-key and --trail-keys are for --format aat")
    if arguments.trail_keys and not arguments.trail_key:
        raise ConfigurationError("--trail-keys needs --trail-key, whose public key it writes")
    path = source_of(arguments)
    with opened(path) as index:
        found = index.read(index.events(selection_of(arguments), as_written=True))
        if arguments.json:
            for one in found:
                print_json(record_dict(described(one.record), one.writer), indent=False)
        elif arguments.format == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(map(_row, found))
        elif arguments.format == "aat":
            _write_trail(found, arguments)
        else:
            for line in _otlp_lines(found):
                sys.stdout.write(line + "\n")
    return 0


def _write_trail(found: Iterable[ReadEvent], arguments: argparse.Namespace) -> None:
    from wakelog.evidence import TrailSigner, audit_trail

    signer = None
    if arguments.trail_key:
        signer = TrailSigner.from_file(arguments.trail_key)
        if arguments.trail_keys:
            try:
                SYSTEM.write_whole(arguments.trail_keys, signer.keystore())
            except OSError as error:
                cause = error.strerror or error
                raise JournalError("write", arguments.trail_keys, cause) from error
    for line in audit_trail(((one.record, one.resource, one.writer) for one in found), signer):
        sys.stdout.write(printable_json(line.decode()))


def _otlp_lines(found: Iterable[ReadEvent]) -> Iterator[str]:
    """Yield requests of limited size, each with records of one resource and scope."""
    for _, group in groupby(found, lambda one: (id(one.resource), one.record.scope)):
        waiting = []
        for one in group:
            waiting.append(one)
            if len(waiting) == _MOST_IN_A_LINE:
                yield _request(waiting)
                waiting = []
        if waiting:
            yield _request(waiting)


def _request(found: list[ReadEvent]) -> str:
    first = found[0]
    scope_logs = {
        **scope_of(first.record.scope),
        "logRecords": [log_record(one.record, one.writer) for one in found],
    }
    request = {"resourceLogs": [{**resource_of(first.resource), "scopeLogs": [scope_logs]}]}
    return json_text(request, indent=False)


def _row(one: ReadEvent) -> list[Any]:
    event, record = one.event, described(one.record)
    event_type = event_type_of(record.event_name or "log")
    said = message_of(record.attributes, record.body)
    summary = summary_of(event_type, record.attributes, record.body) if said is None else said
    row = [
        None if event.time is None else rfc3339(event.time),
        *(getattr(event, name) for name in _COLUMNS[1:10]),
        _duration(event),
        *(getattr(event, name) for name in _COLUMNS[11:17]),
        event.trace,
        event.span,
        event.id,
        event.parent,
        one.writer,
        summary,
    ]
    return [_cell(value) for value in row]


def _duration(event: Event) -> float | None:
    return None if event.duration is None else event.duration / 1e6


def _cell(value: object) -> object:
    """Return a value in a form that neither a terminal nor a spreadsheet executes."""
    if not isinstance(value, str):
        return value
    from wakelog._printable import printable

    safe = "\n".join(printable(line) for line in value.split("\n"))
    return f"'{safe}" if safe[:1] in ("=", "+", "-", "@") else safe
