"""Verify a journal: read every line, and compute the books from the files alone.

The exit code is 1 if a line was changed, a record is missing, or the books do not balance; the first
mismatch is named by file, line and byte.

This detects accidents. With --keys the seals are checked, too, which detects deliberate alterations.

With --json:
  {"path", "fits", "misfits", "evidence", "total": BOOKS, "writers": [BOOKS]}
where a misfit is {"writer", "file", "line", "offset", "what"}, the first one of each writer, and
BOOKS is as "wakelog status" prints it. evidence is null without --keys, else
  {"keys", "shows": [SENTENCE], "anchored", "writers": [{"writer", "seals", "last_seq", "closed", "unsealed",
   "adopted", "anchored", "stamped", "deleted": [{"below", "reason"}], "erased"}]}
"""

from __future__ import annotations

import argparse
from typing import Any

from wakelog._printable import printable
from wakelog.cli._evidence import add_evidence, evidence_of
from wakelog.cli._paths import add_json, add_path, journal_of, print_json
from wakelog.cli._place import journal_at
from wakelog.cli._terminal import say
from wakelog.cli.status import balance_text, statuses_of, table, total_of
from wakelog.evidence import erased_in
from wakelog.journal import first_misfit, folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    add_evidence(parser)
    add_json(parser, instead_of="the table")


def run(arguments: argparse.Namespace) -> int:
    """Verify a journal.

    Raises:
        JournalError: If there is no journal at the path, or it cannot be read.
        ConfigurationError: If keys or certificates cannot be used.
    """
    path = journal_of(arguments, reads=True)
    statuses = statuses_of(path, exact=True)
    root, writer = journal_at(path)
    evidence = evidence_of(root, writer, list(folders(root, writer)), arguments)
    misfits: list[dict[str, Any]] = [] if evidence is None else evidence.misfits
    known = {misfit["writer"] for misfit in misfits}
    for one in statuses:
        if one.folder is None or one.books.writer in known:
            continue
        if (found := first_misfit(one.folder, erased_in(one.folder))) is not None:
            named = {**found._asdict(), "file": str(found.file)}
            misfits.append({"writer": one.books.writer, **named})
    total = total_of(statuses)
    fits = not misfits and all(one.books.balances for one in (*statuses, total))
    if arguments.json:
        print_json(
            {
                "path": str(path.absolute()),
                "fits": fits,
                "misfits": misfits,
                "evidence": None if evidence is None else evidence.to_dict(),
                "total": total.to_dict(),
                "writers": [{"writer": one.books.writer, **one.to_dict()} for one in statuses],
            }
        )
        return 0 if fits else 1
    say(table(statuses, total))
    say((balance_text(statuses, total), "green" if fits else "bold red"))
    for misfit in misfits:
        where = misfit["file"]
        if misfit["line"]:  # a seal that only an anchor has is on no line of the journal
            where += f", line {misfit['line']}, byte {misfit['offset']}"
        say((printable(f"{where}: {misfit['what']}"), "bold red"))
    if fits:
        say(("Every line is what was written.", "green"))
    for sentence in evidence.shows if evidence is not None else ():
        say(printable(sentence))
    return 0 if fits else 1
