"""Checks of a directory's owner and permissions: whether other users can create files in it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from wakelog.errors import JournalError
from wakelog.runtime._opening import TRUST_VARIABLE, StrPath, open_directory, others_are_trusted
from wakelog.runtime._paths import resolved

_ACCESS_LIST: Final = "system.posix_acl_access"


def check_directory(path: Path) -> None:
    """Check that no other user owns a directory or can write it, and so plant files in it.

    The user's private group may have write permission.

    Args:
        path: The directory. A missing one passes.

    Raises:
        JournalError: When another user owns the directory or can write it.
        OSError: When ``lstat`` fails.
    """
    if others_are_trusted():
        return
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        cause = f"it is a link that the user with uid {status.st_uid} has made"
        raise JournalError("use", path, cause, _REMEDY.format(path=path, first=""))
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    user = os.geteuid()
    if status.st_uid != user:
        cause = f"it belongs to uid {status.st_uid}, and this process runs as uid {user}"
        first = f"run it as uid {status.st_uid}, "
        raise JournalError("use", path, cause, _REMEDY.format(path=path, first=first))
    if _others_may_write(path, status):
        cause = f"others may write in it (mode {stat.S_IMODE(status.st_mode):04o})"
        first = f"take that away (chmod go-w {path}), "
        raise JournalError("use", path, cause, _REMEDY.format(path=path, first=first))


_REMEDY: Final = (
    "A user who can write to a directory of records can create links in it to other files of this "
    "user. To go on, {first}name a directory that does not exist yet ({path}/wakelog is made for this "
    "user alone), or, "
    f"if all users who can write there are trusted, set {TRUST_VARIABLE}=true"
)


def open_root(path: StrPath) -> int:
    """Open a directory that a caller has named, to list it; see ``resolved`` for links.

    Raises:
        OSError: When a system call fails.
    """
    try:
        return open_directory(path)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        return open_directory(resolved(Path(path).absolute()))


def is_anothers(status: os.stat_result, owner: int) -> bool:
    """Return whether a file or directory belongs to an untrusted user other than an owner.

    Args:
        status: The status of the file.
        owner: The owner's uid.
    """
    return status.st_uid != owner and not others_are_trusted()


def _others_may_write(path: Path, status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    return not _is_private_group(status.st_gid) or _has_access_list(path)


def _is_private_group(gid: int) -> bool:
    """Return whether a group is the private group that distributions create for a user."""
    import grp
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        user.pw_gid == gid
        and group.gr_name == user.pw_name
        and not set(group.gr_mem) - {user.pw_name}
    )


def _has_access_list(path: Path) -> bool:
    """Return whether a directory has an access control list beyond its mode."""
    if not hasattr(os, "listxattr"):
        return False
    try:
        return _ACCESS_LIST in os.listxattr(path)
    except OSError:
        return False
