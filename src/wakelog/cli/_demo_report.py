"""The end of the demo's output: the session, the books, what arrived, and what to try next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wakelog._printable import printable
from wakelog.cli._terminal import say
from wakelog.cli._views import drawn_lines
from wakelog.cli.status import WriterStatus, balance_text, statuses_of, table, total_of
from wakelog.journal import read, signal_of
from wakelog.record import LOGS, SPANS
from wakelog.viewer import load

if TYPE_CHECKING:
    from wakelog.cli._demo_endpoint import Endpoint

_DROP_IN = """\
-    BatchLogRecordProcessor(OTLPLogExporter())
+    DurableLogRecordProcessor(OTLPLogExporter())   # from wakelog.otel
-    BatchSpanProcessor(OTLPSpanExporter())
+    DurableSpanProcessor(OTLPSpanExporter())"""


def difference(
    directory: Path, endpoint: Endpoint | None, *, only_spans: bool = False
) -> list[str]:
    """Compare the accepted records with those that were delivered.

    Args:
        directory: The journal's directory.
        endpoint: The demo's endpoint; None when the events went to the user's.
        only_spans: Whether the user's endpoint accepts no log records, so that they stay in the
            journal.

    Returns:
        A sentence for each difference.

    Raises:
        JournalError: If the journal cannot be read.
    """
    statuses = statuses_of(directory)
    total = total_of(statuses)
    wrong = []
    if not all(status.books.balances for status in (*statuses, total)):
        wrong.append(balance_text(statuses, total))
    if not total.books.accepted:
        wrong.append("Nothing was recorded")
    due = total_of([one for one in statuses if _holds_spans(one)]) if only_spans else total
    if due.books.delivered != due.books.accepted:
        wrong.append(
            f"{due.books.accepted - due.books.delivered} of {due.books.accepted} records "
            "were not delivered"
        )
    if endpoint is not None:
        for signal, what, arrived in (
            (LOGS, "records", endpoint.ids),
            (SPANS, "spans", endpoint.span_ids),
        ):
            recorded = {entry.record.id for entry in read(directory, signal=signal)}
            if missing := recorded - arrived:
                wrong.append(f"{len(missing)} {what} are in the journal and not at the endpoint")
            if strange := arrived - recorded:
                wrong.append(f"{len(strange)} {what} are at the endpoint and not in the journal")
    return wrong


def report(
    directory: Path,
    endpoint: Endpoint | None,
    wrong: list[str],
    *,
    only_spans: bool = False,
) -> None:
    """Print the result of the demo.

    Args:
        directory: The journal's directory.
        endpoint: The demo's endpoint; None when the events went to the user's.
        wrong: The result of ``difference``.
        only_spans: Whether the endpoint accepts no log records.
    """
    statuses = statuses_of(directory)
    total = total_of(statuses)
    _title("The session, from the journal")
    for line in drawn_lines(load(directory)):
        say(line)
    _title("The books")
    say(table(statuses, total))
    say(balance_text(statuses, total))
    if endpoint is not None:
        of_spans = sum(one.books.accepted for one in statuses if _holds_spans(one))
        say(
            f"The endpoint has {len(endpoint.ids)} distinct records of "
            f"{total.books.accepted - of_spans} accepted; {endpoint.duplicates} arrived twice"
        )
        say(
            f"It has {len(endpoint.span_ids)} spans of {of_spans}; {endpoint.unknown_outcomes} were "
            "open when their process was killed, and have an unknown outcome"
        )
    if only_spans:
        kept = sum(one.books.pending for one in statuses if not _holds_spans(one))
        spans = sum(one.books.delivered for one in statuses if _holds_spans(one))
        say(
            f"The endpoint accepts spans and no log records: it has all {spans} spans, and {kept} "
            "events are kept in the journal. OTEL_EXPORTER_OTLP_LOGS_ENDPOINT sends them "
            "elsewhere, and OTEL_LOGS_EXPORTER=none keeps them here"
        )
    for sentence in wrong:
        say((f"✗ {sentence}", "bold red"))
    if not wrong:
        say(("✓ Nothing was lost.", "bold green"))
    _title("What to try next")
    for command in ("show", "status", "tail --from-start"):
        say(f"  wakelog {command} {printable(str(directory))}")
    say("\nIn a program that already uses OpenTelemetry, change these lines:\n")
    for line in _DROP_IN.splitlines():
        say((f"  {line}", "red" if line.startswith("-") else "green"))


def _holds_spans(status: WriterStatus) -> bool:
    return status.folder is not None and signal_of(status.folder) == SPANS


def _title(text: str) -> None:
    say((f"\n{text}\n", "bold"))
