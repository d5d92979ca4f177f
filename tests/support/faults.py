"""File systems that fail once: what a crash between any two system calls leaves behind.

``before:write:3`` kills the process with SIGKILL before the third write, ``after:rename:1`` after the
first rename, and ``error:fdatasync:2:EIO`` has the second fdatasync fail. Nothing of it is in the package.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from wakelog.runtime import _filesystem
from wakelog.runtime._filesystem import FileSystem

VARIABLE = "WAKELOG_TEST_FAULT"
"""What ``install`` reads in a process of its own."""


def with_calls(fs: FileSystem, **calls: Callable[..., Any]) -> FileSystem:
    """Return a copy of a file system in which some calls are others."""
    return FileSystem(**{**vars(fs), **calls})


def with_fault(real: FileSystem, fault: str) -> FileSystem:
    """Return a file system that fails once, at a chosen point.

    Raises:
        ValueError: When the fault is not written as this module's text shows.
    """
    when, _, rest = fault.partition(":")
    operation, _, rest = rest.partition(":")
    count, _, code = rest.partition(":")
    known = FileSystem.__annotations__
    number = getattr(errno, code, None)
    if operation not in known or not count.isdecimal() or (when == "error") == (number is None):
        message = f"{fault!r} is no fault: write it as in before:write:3"
        raise ValueError(message)
    call = getattr(real, operation)
    calls = itertools.count(1)

    def failing(*arguments: Any, **named: Any) -> Any:
        here = next(calls) == int(count)
        if here and when == "error":
            raise OSError(number, os.strerror(number or 0))
        if here and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if here and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return with_calls(real, **{operation: failing})


def install() -> None:
    """Have all of Wakelog use a file system with the fault that the variable names, where it is set.

    Before anything else of Wakelog is imported, as functions take the file system as their default.
    """
    if fault := os.environ.get(VARIABLE):
        assert "wakelog.journal" not in sys.modules, "import nothing of Wakelog before"
        runtime = sys.modules["wakelog.runtime"]
        faulty = with_fault(_filesystem.SYSTEM, fault)
        _filesystem.SYSTEM = runtime.SYSTEM = faulty  # type: ignore[attr-defined]
