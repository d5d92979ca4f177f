"""Show the books: what was accepted, and where each record is now.

accepted = delivered + pending + dead lettered + evicted + corrupt, for each writer (one process
lifetime) and in total. The exit code is 1 when the books do not balance.

With --json:
  {"path", "balances", "bytes", "quota_bytes", "writers_left_out", "total": BOOKS,
   "writers": [BOOKS]}
quota_bytes is what the last program that used the directory has set, null when none did.
BOOKS is {"accepted", "delivered", "pending", "dead_lettered", "evicted", "corrupt", "bytes",
"balances"}, and for a writer also "writer", its id, and "live", whether a process is writing it.
Writers come oldest first; before them "swept", the sum of those whose folders have been deleted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wakelog.cli._paths import add_path, path_of, print_json
from wakelog.errors import JournalError
from wakelog.journal import Books, books, folders, quota_of, usage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

_FIGURES: Final = ("accepted", "delivered", "pending", "dead_lettered", "evicted", "corrupt")
_MOST_WRITERS = 20
_UNIT = 1024
_ID_SHOWN = 13  # of a UUID of version 7: the time to the millisecond


@dataclass(frozen=True, slots=True)
class Account:
    """The books of one writer, or the sum of several, and the disk space they take.

    Attributes:
        books: The figures.
        size: Bytes on disk.
        folder: The writer's folder; None for a sum.
    """

    books: Books
    size: int
    folder: Path | None = None

    @property
    def balances(self) -> bool:
        """Whether every accepted record is in one place, and none in more than one."""
        figures: list[int] = [getattr(self.books, name) for name in _FIGURES]
        return min(figures) >= 0 and figures[0] == sum(figures[1:])

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, in the shape that ``--json`` prints."""
        figures = {name: getattr(self.books, name) for name in _FIGURES}
        return {**figures, "bytes": self.size, "balances": self.balances}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument(
        "--all", action="store_true", help=f"every writer, not only the newest {_MOST_WRITERS}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


def run(arguments: argparse.Namespace) -> int:
    """Show the books of a journal.

    Raises:
        JournalError: When there is no journal at the path.
    """
    path = path_of(arguments)
    accounts = accounts_of(path)
    total = total_of(accounts)
    shown = accounts if arguments.all else accounts[-_MOST_WRITERS:]
    left_out = len(accounts) - len(shown)
    used = usage(path)
    quota = quota_of(path)
    balances = all(account.balances for account in (*accounts, total))
    if arguments.json:
        print_json(
            {
                "path": str(path.absolute()),
                "balances": balances,
                "bytes": used,
                "quota_bytes": quota,
                "writers_left_out": left_out,
                "total": total.to_dict(),
                "writers": [
                    {"writer": one.books.writer, "live": one.books.live, **one.to_dict()}
                    for one in shown
                ],
            }
        )
        return 0 if balances else 1
    from wakelog.cli._terminal import console

    out = console()
    limit = "" if quota is None else f" of {size_text(quota)} ({used / quota:.0%})"
    out.print(f"{path}  ·  {size_text(used)}{limit}")
    out.print(table(shown, total, left_out))
    if left_out:
        out.print(f"{left_out} older writers are in the total only; --all shows them.")
    out.print(verdict(accounts, total), style="green" if balances else "bold red")
    return 0 if balances else 1


def accounts_of(path: Path, *, exact: bool = False) -> list[Account]:
    """Read the books of every writer of a journal, or of the one whose folder it is.

    Args:
        path: The journal's directory, or a writer's folder.
        exact: Whether to read every pending record, see ``wakelog.journal.books``.

    Returns:
        One account a writer, oldest first.

    Raises:
        JournalError: When there is no journal at the path.
    """
    if path.is_file():
        hint = "Only a journal directory keeps books; 'wakelog show' reads single files"
        raise JournalError("read the books of", path, "it is a file", hint)
    found = books(path, exact=exact)
    root = path = path.absolute()
    if not found and path in folders(path.parent):
        root = path.parent
        found = [one for one in books(root, exact=exact) if one.writer == path.name]
    if not found and not (path / "wakelog.json").exists():
        hint = "Name a directory that a program records into"
        raise JournalError("read the books of", path, "there is no journal in it", hint)
    return [Account(one, _size(root / one.writer), root / one.writer) for one in found]


def total_of(accounts: Sequence[Account]) -> Account:
    """Add accounts up."""
    kept = [name for name in _FIGURES if name != "pending"]
    sums = {name: sum(getattr(one.books, name) for one in accounts) for name in kept}
    live = any(one.books.live for one in accounts)
    return Account(Books("total", live, **sums), sum(one.size for one in accounts))


def table(accounts: Sequence[Account], total: Account, left_out: int = 0) -> Table:
    """Draw the books.

    Args:
        accounts: The writers to show.
        total: All writers, also those that are not shown.
        left_out: How many those are.

    Returns:
        A table for ``rich.console.Console.print``.
    """
    from rich import box
    from rich.table import Table

    result = Table(box=box.SIMPLE_HEAD, show_footer=True, show_edge=False, padding=0)
    count = len(accounts) + left_out
    # Narrow enough for a terminal of 80 columns.
    result.add_column("writer", f"total of {count:,}", vertical="bottom", no_wrap=True)
    for name in _FIGURES:
        footer = f"{getattr(total.books, name):,}"
        title = name.replace("_", " ")
        widest = max(len(word) for word in title.split())
        result.add_column(title, footer, justify="right", vertical="bottom", min_width=widest)
    result.add_column(
        "size", size_text(total.size), justify="right", vertical="bottom", no_wrap=True
    )
    for one in accounts:
        figures = [f"{getattr(one.books, name):,}" for name in _FIGURES]
        process = "live" if one.books.live else "gone"
        writer = f"{one.books.writer[:_ID_SHOWN]} {process}"
        result.add_row(writer, *figures, size_text(one.size))
    return result


def verdict(accounts: Sequence[Account], total: Account) -> str:
    """Say in one sentence whether the books balance."""
    figures = [getattr(total.books, name) for name in _FIGURES]
    words = [name.replace("_", " ") for name in _FIGURES]
    right = " + ".join(
        f"{word} {figure:,}" for word, figure in zip(words[1:], figures[1:], strict=True)
    )
    sums = f"{words[0]} {figures[0]:,} = {right}"
    wrong = [one.books.writer for one in accounts if not one.balances]
    if wrong:
        return f"The books do not balance, because of {', '.join(wrong)}: {sums}"
    return f"The books balance: {sums}"


def size_text(size: float) -> str:
    """Write a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if size < _UNIT:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _UNIT
    return f"{size:.1f} GiB"


def _size(folder: Path) -> int:
    with suppress(JournalError):  # it has been swept
        return usage(folder)
    return 0
