"""Turning errors of the operating system into errors of the journal."""

from __future__ import annotations

import os

from wakelog.errors import JournalError
from wakelog.runtime._handlers import raised_by_handler
from wakelog.runtime._opening import ForeignFileError


class JournalErrors:
    """Raises a ``JournalError`` for an ``OSError`` inside the block.

    An ``OSError`` of a signal handler, such as a time-out, is the program's, and passes through.

    Args:
        operation: The operation, as a verb phrase ("write to", "open").
        path: The file or directory.
        hint: What the user can do about it.
    """

    __slots__ = ("_hint", "_operation", "_path")

    def __init__(self, operation: str, path: str | os.PathLike[str], hint: str = "") -> None:
        self._operation, self._path, self._hint = operation, path, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not raised_by_handler(error):
            raise JournalError(self._operation, self._path, error, self._hint) from error


class UnlessMissing:
    """Does the same, but ends the block without an error if the file is missing.

    Args:
        operation: The operation, as a verb phrase.
        path: The file or directory, which another process may delete at any time.
        hint: What the user can do about it.
        or_foreign: Whether a link or a special file counts as missing, too.
    """

    __slots__ = ("_errors", "_ignored")

    def __init__(
        self,
        operation: str,
        path: str | os.PathLike[str],
        hint: str = "",
        *,
        or_foreign: bool = False,
    ) -> None:
        self._errors = JournalErrors(operation, path, hint)
        self._ignored = (FileNotFoundError, ForeignFileError) if or_foreign else FileNotFoundError

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, self._ignored) and not raised_by_handler(error):
            return True
        self._errors.__exit__(kind, error, trace)
        return False
