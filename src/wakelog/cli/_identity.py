"""Becoming the user whose journal a command writes beside, before anything of it is opened."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final

from wakelog.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

# What commands import when they need it: an interpreter in root's home cannot be read by others.
_IMPORTED_LATER: Final = (
    "ctypes",
    "opentelemetry.sdk.metrics",
    "rich.progress",
    "wakelog.cli._rich",
    "wakelog.otel.shipping",
)


def become_owner_of(path: Path) -> None:
    """As root, take on the ids of a directory's owner for the rest of the process.

    What root writes in a directory that somebody else may change could end up anywhere. For any other user
    nothing is done: the journal refuses a directory that is not theirs.

    Args:
        path: The journal's directory, or a writer's folder in it.

    Raises:
        JournalError: When the system does not let it.
    """
    if os.geteuid() != 0:
        return
    try:
        status = os.stat(path)
    except OSError:
        return  # the command says that it is missing
    if status.st_uid == 0:
        return
    try:
        user = pwd.getpwuid(status.st_uid)
    except KeyError:  # a user of another container
        gid, groups = status.st_gid, [status.st_gid]
    else:
        gid, groups = user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)
        os.environ["HOME"] = user.pw_dir
    for module in _IMPORTED_LATER:
        with suppress(ImportError):
            import_module(module)
    try:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(status.st_uid)
    except OSError as error:
        cause = f"this process may not become uid {status.st_uid}: {error.strerror or error}"
        hint = f"Run this as uid {status.st_uid}"
        raise JournalError("write beside", path, cause, hint) from error
