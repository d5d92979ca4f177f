"""Printing through a pager if the output does not fit on the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from typing import IO, Final

_LESS: Final = "FRSX"  # quit if it fits, pass colours on, chop long lines, do not clear the screen


def page(lines: Iterable[str], *, paged: bool = True) -> None:
    """Print lines, through a pager if standard output is a terminal on which they do not fit.

    Args:
        lines: The lines, without newlines.
        paged: Whether a pager may be used.
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
        pass  # the user has quit the pager
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C belongs to the pager while it runs
        return


def _write(file: IO[str], lines: Iterable[str]) -> None:
    for line in lines:
        file.write(f"{line}\n")


def _pager() -> subprocess.Popen[str] | None:
    """Start the user's pager, and return None if there is none."""
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
