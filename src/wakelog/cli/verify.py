"""Verify a journal: read every line, and add the books up from the files alone.

The exit code is 1 when a line is not what was written, a record is missing, or the books do not
balance; the first misfit is named by file, line and byte.

With --json:
  {"path", "fits", "misfits", "total": BOOKS, "writers": [BOOKS]}
where a misfit is {"writer", "file", "line", "offset", "what"}, the first one of each writer, and
BOOKS is what "wakelog status" prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wakelog.cli._paths import add_path, path_of, print_json
from wakelog.cli.status import accounts_of, table, total_of, verdict
from wakelog.journal import first_misfit

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


def run(arguments: argparse.Namespace) -> int:
    """Verify a journal.

    Raises:
        JournalError: When there is no journal at the path, or it cannot be read.
    """
    path = path_of(arguments)
    accounts = accounts_of(path, exact=True)
    misfits: list[dict[str, Any]] = []
    for one in accounts:
        if one.folder is not None and (found := first_misfit(one.folder)) is not None:
            named = {**found._asdict(), "file": str(found.file)}
            misfits.append({"writer": one.books.writer, **named})
    total = total_of(accounts)
    fits = not misfits and all(one.balances for one in (*accounts, total))
    if arguments.json:
        print_json(
            {
                "path": str(path.absolute()),
                "fits": fits,
                "misfits": misfits,
                "total": total.to_dict(),
                "writers": [{"writer": one.books.writer, **one.to_dict()} for one in accounts],
            }
        )
        return 0 if fits else 1
    from wakelog.cli._terminal import console

    out = console()
    out.print(table(accounts, total))
    out.print(verdict(accounts, total), style="green" if fits else "bold red")
    for misfit in misfits:
        where = f"{misfit['file']}, line {misfit['line']}, byte {misfit['offset']}"
        out.print(f"{where}: {misfit['what']}", style="bold red", soft_wrap=True)
    if fits:
        out.print("Every line is what was written.", style="green")
    return 0 if fits else 1
