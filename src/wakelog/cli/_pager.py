"""Printing through a pager where a terminal is too small for what is printed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from typing import IO, Final

_LESS: Final = (
    "FRSX"  # quit when it fits, pass colours on, chop long lines, leave the screen as it is
)


def page(lines: Iterable[str], *, paged: bool = True) -> None:
    """Print lines, through a pager where standard output is a terminal that they do not fit on.

    Args:
        lines: The lines, without newlines.
        paged: Whether a pager is wanted.
    """
    waiting = iter(lines)
    if not paged or not sys.stdout.isatty():
        _write(sys.stdout, waiting)
        return
    first = list(islice(waiting, max(1, shutil.get_terminal_size().lines - 1)))
    more = next(waiting, None)
    pager = None if more is None else _pager()
    if pager is None:
        _write(sys.stdout, [*first, *([] if more is None else [more])])
        _write(sys.stdout, waiting)
        return
    sys.stdout.flush()
    assert pager.stdin is not None and more is not None  # noqa: S101, PT018 - it was opened with a pipe
    try:
        _write(pager.stdin, [*first, more])
        _write(pager.stdin, waiting)
        pager.stdin.close()
    except BrokenPipeError:
        pass  # whoever reads has seen enough
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C is the pager's while it runs
        return


def _write(file: IO[str], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(f"{line}\n")


def _pager() -> subprocess.Popen[str] | None:
    """Start the user's pager, None where there is none."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or command == ["cat"]:
        return None
    environment = {**os.environ, "LESS": os.environ.get("LESS", _LESS)}
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, errors="backslashreplace", env=environment
        )
    except OSError:
        return None
