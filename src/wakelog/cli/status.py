"""Show the books: how many records were accepted, and where each is now.

accepted = delivered + pending + dead lettered + evicted + corrupt, for each writer (one process
lifetime) and in total. The exit code is 1 if the books do not balance. In a journal without delivery,
pending records are under the heading "kept here".

With --json:
  {"path", "balances", "bytes", "quota_bytes", "kept_here", "writers_left_out", "open_spans": [SPAN],
   "unserved": [WAITING], "total": BOOKS, "writers": [BOOKS]}
kept_here is whether no process has delivered from the directory.
quota_bytes is the quota that the last program has set, or null.
BOOKS is {"accepted", "delivered", "pending", "dead_lettered", "evicted", "corrupt", "bytes",
"balances"}. For a writer it also has "writer", its id; "live", whether a process is writing it
(null if that cannot be determined); and "service", "namespace", "pipeline" and "signal" (null if the
owner file cannot be read).
SPAN is {"writer", "live", "name", "trace_id", "span_id", "started", "age_seconds"} of a span
without an end. WAITING is {"service", "namespace", "pipeline", "signal", "pending", "answer"} of
records for which the next hop has no endpoint, according to its response.
Writers are listed oldest first; before them "swept", the sum of those whose folders have been
deleted.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wakelog._printable import printable
from wakelog.cli._open_spans import open_spans_of, said_of
from wakelog.cli._paths import add_json, add_path, journal_of, print_json
from wakelog.cli._place import check_journal, journal_at
from wakelog.cli._table import table_text
from wakelog.cli._terminal import say
from wakelog.cli._terminal import width as terminal_width
from wakelog.cli._unserved import unserved_of
from wakelog.cli._whose import name_of, whose
from wakelog.cli._words import counted
from wakelog.errors import JournalError
from wakelog.journal import (
    FIGURES,
    Books,
    Owner,
    RecordCounts,
    books,
    is_kept_here,
    owner_of,
    quota_of,
    usage,
)
from wakelog.record import DEFAULT_PIPELINE, LOGS, SPANS

_LIFE: Final = {True: "live", False: "gone", None: "unknown"}
_KEPT_HERE: Final = "kept here"
_MOST_WRITERS = 20
_UNIT = 1024
_ID_SHOWN = 13  # the time in a UUID of version 7, to the millisecond


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """The books of one writer, or the sum of several, and their disk space.

    Attributes:
        books: The figures.
        size: Bytes on disk.
        folder: The writer's folder; None for a sum, and if it has been deleted.
    """

    books: Books
    size: int
    folder: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures in the form that ``--json`` prints."""
        return {**self.books.figures(), "bytes": self.size, "balances": self.books.balances}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"list every writer instead of the newest {_MOST_WRITERS}",
    )
    add_json(parser, instead_of="the table")


def run(arguments: argparse.Namespace) -> int:
    """Show the books of a journal.

    Raises:
        JournalError: If there is no journal at the path.
    """
    path = journal_of(arguments, reads=True)
    statuses = statuses_of(path)
    total = total_of(statuses)
    shown = statuses if arguments.all else statuses[-_MOST_WRITERS:]
    left_out = len(statuses) - len(shown)
    used = usage(path)
    quota = quota_of(path)
    here = is_kept_here(journal_at(path)[0])
    there = [(one.folder, one.books.pending) for one in statuses if one.folder is not None]
    unended = open_spans_of(folder for folder, _ in there)
    unserved = unserved_of(there)
    balances = all(status.books.balances for status in (*statuses, total))
    if arguments.json:
        print_json(
            {
                "path": str(path.absolute()),
                "balances": balances,
                "bytes": used,
                "quota_bytes": quota,
                "kept_here": here,
                "writers_left_out": left_out,
                "open_spans": [one.to_dict() for one in unended],
                "unserved": [one.to_dict() for one in unserved],
                "total": total.to_dict(),
                "writers": [
                    {
                        "writer": one.books.writer,
                        "live": one.books.live,
                        **whose(_owner(one)),
                        **one.to_dict(),
                    }
                    for one in shown
                ],
            }
        )
        return 0 if balances else 1
    limit = "" if quota is None else f" of {size_text(quota)} ({used / quota:.0%})"
    say(f"{printable(str(path))}  ·  {size_text(used)}{limit}")
    groups = by_owner(shown)
    for title, some in groups:
        if title:
            say(f"\n{printable(title)}")
        if len(groups) > 1:
            say(table(some, total_of(some), here=here))
    if len(groups) == 1:
        say(table(shown, total, left_out, here=here))
    else:
        say("\nAll services and pipelines")
        say(table([], total, len(shown) + left_out, here=here))
    if left_out:
        say(
            f"{counted(left_out, 'older writer is', 'older writers are')} in the total only; --all shows all."
        )
    say((balance_text(statuses, total, here=here), "green" if balances else "bold red"))
    no_endpoint = (one.line for one in unserved)
    for line in (*said_of(unended), *no_endpoint, *waiting(statuses, path)):
        say(printable(line))
    return 0 if balances else 1


def statuses_of(path: Path, *, exact: bool = False) -> list[WriterStatus]:
    """Read the books of every writer of a journal, or of one writer.

    Args:
        path: The journal's directory, or a writer's folder.
        exact: Whether to read every pending record; see ``wakelog.journal.books``.

    Returns:
        One status for each writer, oldest first.

    Raises:
        JournalError: If there is no journal at the path.
    """
    check_journal(path)
    root, writer = journal_at(path)
    found = books(root, exact=exact)
    if writer is not None:
        found = [one for one in found if one.writer == writer]
    there = {one.writer: folder for one in found if (folder := root / one.writer).is_dir()}
    return [WriterStatus(one, _size(root / one.writer), there.get(one.writer)) for one in found]


def by_owner(statuses: Sequence[WriterStatus]) -> list[tuple[str, list[WriterStatus]]]:
    """Group writers by service and pipeline, each group with a title.

    The title is empty if all writers belong to one service and its pipeline ``default``.
    """
    owners = {id(one): _owner(one) for one in statuses}
    known = {owner.key for owner in owners.values() if owner is not None}
    strange = any(one.folder is not None and owners[id(one)] is None for one in statuses)
    if len(known) + strange <= 1:
        named = [_title(o) for o in owners.values() if o and o.key[1:] != (DEFAULT_PIPELINE, LOGS)]
        return [(named[0] if named else "", list(statuses))]
    groups: dict[str, list[WriterStatus]] = {}
    for one in statuses:
        owner = owners[id(one)]
        nameless = "deleted folders" if one.folder is None else "nothing readable says whose"
        groups.setdefault(nameless if owner is None else _title(owner), []).append(one)
    return list(groups.items())


def _title(owner: Owner) -> str:
    return f"{name_of(owner)}, spans" if owner.signal == SPANS else name_of(owner)


def waiting(statuses: Sequence[WriterStatus], root: Path) -> list[str]:
    """Return sentences about pending records of pipelines that no process uses, with the remedy."""
    pending: dict[Owner, int] = {}
    first: dict[object, Owner] = {}
    live: set[object] = set()
    unknown = 0
    for one in statuses:
        owner = _owner(one)
        if owner is None:
            unknown += 0 if one.folder is None else one.books.pending
            continue
        owner = first.setdefault(owner.whose, owner)  # events and spans are delivered together
        pending[owner] = pending.get(owner, 0) + one.books.pending
        if one.books.live:
            live.add(owner.whose)
    where = shlex.quote(str(root))
    lines = [
        f"{counted(count, f'of {name_of(owner)} is', f'of {name_of(owner)} are')} pending, and no process records for it now: start one "
        f"with pipeline={owner.pipeline!r}, or run: wakelog ship --service "
        f"{shlex.quote(str(owner.service))} --pipeline {shlex.quote(owner.pipeline)} {where}"
        for owner, count in pending.items()
        if count
        and owner.whose not in live
        and owner.destination != ""  # its program was configured not to deliver
        and (len(first) > 1 or owner.pipeline != DEFAULT_PIPELINE)
    ]
    if unknown:
        lines.append(
            f"{counted(unknown, 'is', 'are')} pending in folders without a readable owner file: "
            f"wakelog ship --all {where}"
        )
    return lines


def _owner(status: WriterStatus) -> Owner | None:
    return None if status.folder is None else owner_of(status.folder)


def total_of(statuses: Sequence[WriterStatus]) -> WriterStatus:
    """Return the sum of the figures of writers."""
    counts = sum((one.books for one in statuses), RecordCounts())
    live = any(one.books.live for one in statuses)
    total = Books(writer="total", live=live, **counts.counted())
    return WriterStatus(total, sum(one.size for one in statuses))


def table(
    statuses: Sequence[WriterStatus],
    total: WriterStatus,
    left_out: int = 0,
    *,
    here: bool = False,
    width: int | None = None,
) -> str:
    """Return the books as text.

    Args:
        statuses: The writers to show.
        total: The sum of all writers, including those that are not shown.
        left_out: The number of writers that are not shown.
        here: Whether pending records are kept here, without delivery.
        width: The width of a line in columns; that of standard output by default.

    Returns:
        The lines of a table, or a block for each writer if a table would be too wide.
    """
    count = len(statuses) + left_out
    rows = [
        [
            f"{printable(one.books.writer)[:_ID_SHOWN]} {_LIFE[one.books.live]}",
            *_figures(one),
        ]
        for one in statuses
    ]
    rows.append([f"total of {count:,}", *_figures(total)])
    titles = ["writer", *(_word(name, here=here) for name in FIGURES), "size"]
    return table_text(titles, rows, terminal_width() if width is None else width)


def _figures(status: WriterStatus) -> list[str]:
    return [*(f"{count:,}" for count in status.books.figures().values()), size_text(status.size)]


def balance_text(
    statuses: Sequence[WriterStatus], total: WriterStatus, *, here: bool = False
) -> str:
    """Return a sentence that says whether the books balance."""
    left, *right = (
        f"{_word(name, here=here)} {count:,}" for name, count in total.books.figures().items()
    )
    sums = f"{left} = {' + '.join(right)}"
    wrong = [printable(one.books.writer) for one in statuses if not one.books.balances]
    if wrong:
        return f"The books do not balance, because of {', '.join(wrong)}: {sums}"
    return f"The books balance: {sums}"


def _word(figure: str, *, here: bool) -> str:
    return _KEPT_HERE if here and figure == "pending" else figure.replace("_", " ")


def size_text(size: float) -> str:
    """Format a number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < _UNIT:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _UNIT
    return f"{size:.1f} GiB"


def _size(folder: Path) -> int:
    with suppress(JournalError):  # the folder has been deleted
        return usage(folder)
    return 0
