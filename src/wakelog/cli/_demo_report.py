"""The end of the demo: the session, the books, what arrived, and what to try next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from wakelog.cli.status import accounts_of, table, total_of, verdict
from wakelog.journal import read
from wakelog.viewer import load
from wakelog.viewer.tree import render

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from wakelog.cli._demo_endpoint import Endpoint

_DROP_IN = """\
-    BatchLogRecordProcessor(OTLPLogExporter())
+    DurableLogRecordProcessor(OTLPLogExporter())   # from wakelog.otel"""


def difference(directory: Path, endpoint: Endpoint | None) -> list[str]:
    """Compare what was accepted with what became of it.

    Args:
        directory: The journal's directory.
        endpoint: The endpoint that the events went to, None when it was the user's.

    Returns:
        What does not agree, in sentences; nothing when everything does.

    Raises:
        JournalError: When the journal cannot be read.
    """
    accounts = accounts_of(directory)
    total = total_of(accounts)
    wrong = []
    if not all(account.balances for account in (*accounts, total)):
        wrong.append(verdict(accounts, total))
    if not total.books.accepted:
        wrong.append("Nothing was recorded")
    if total.books.delivered != total.books.accepted:
        wrong.append(
            f"{total.books.accepted - total.books.delivered} of {total.books.accepted} records "
            "were not delivered"
        )
    if endpoint is not None:
        recorded = {entry.record.id for entry in read(directory)}
        if missing := recorded - endpoint.ids:
            wrong.append(f"{len(missing)} records are in the journal and not at the endpoint")
        if strange := endpoint.ids - recorded:
            wrong.append(f"{len(strange)} records are at the endpoint and not in the journal")
    return wrong


def report(out: Console, directory: Path, endpoint: Endpoint | None, wrong: list[str]) -> None:
    """Print how it ended.

    Args:
        out: Where to.
        directory: The journal's directory.
        endpoint: The endpoint that the events went to, None when it was the user's.
        wrong: What ``difference`` returned.
    """
    accounts = accounts_of(directory)
    total = total_of(accounts)
    _title(out, "The session, as the journal tells it")
    out.print(render(load(directory)))
    _title(out, "The books")
    out.print(table(accounts, total))
    out.print(verdict(accounts, total))
    if endpoint is not None:
        out.print(
            f"The endpoint has {len(endpoint.ids)} distinct records of {total.books.accepted} "
            f"accepted; {endpoint.duplicates} came again, being in doubt"
        )
        out.print(
            f"It has {endpoint.spans} spans; those that the killed process still held are gone"
        )
    for sentence in wrong:
        out.print(f"✗ {sentence}", style="bold red", soft_wrap=True)
    if not wrong:
        out.print("✓ Nothing was lost.", style="bold green")
    _title(out, "What to try next")
    for command in ("show", "status", "tail --from-start"):
        out.print(f"  wakelog {command} {directory}", soft_wrap=True)
    out.print("\nIn a program that uses OpenTelemetry already, this is all:\n")
    for line in _DROP_IN.splitlines():
        out.print(Text(f"  {line}", "red" if line.startswith("-") else "green"))


def _title(out: Console, text: str) -> None:
    out.print(f"\n{text}\n", style="bold")
