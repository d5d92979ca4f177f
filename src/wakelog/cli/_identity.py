"""Changing root's user id to that of the journal's owner, before the journal is opened."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from wakelog.errors import JournalError

# Modules that commands import later: the owner may be unable to read an interpreter in root's home.
_IMPORTED_LATER: Final = (
    "ctypes",
    "opentelemetry.sdk.metrics",
    "rich.progress",
    "wakelog.otel.shipping",
)


def become_owner_of(path: Path) -> None:
    """Change root's ids to those of a directory's owner, for the rest of the process.

    Somebody else may replace a directory by a symbolic link, and root would then write to any
    place. For another user nothing changes: the journal refuses a directory that belongs to
    somebody else.

    Args:
        path: The journal's directory, or a writer's folder in it.

    Raises:
        JournalError: If the system refuses the change.
    """
    if os.geteuid() != 0:
        return
    try:
        status = os.stat(path)
    except OSError:
        return  # the command itself reports that the directory is missing
    if status.st_uid == 0:
        return
    try:
        user = pwd.getpwuid(status.st_uid)
    except KeyError:  # for example a user of another container
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
