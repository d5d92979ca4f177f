"""Paths that do not change with the working directory or with links."""

from __future__ import annotations

import os
import re
import stat
from functools import cache
from pathlib import Path

from wakelog.errors import ConfigurationError
from wakelog.runtime._opening import TRUST_VARIABLE, others_are_trusted


@cache
def _url() -> re.Pattern[str]:
    return re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path with resolved parents, and with the home directory for ``~``.

    Called once, where a path enters Wakelog. Neither systemd nor a ``.env`` file replaces ``~``. The code that opens the path decides whether the path
    itself may be a link.

    Raises:
        ConfigurationError: For a URL, for a relative path in a deleted working directory, and for a
            path with a parent that is a link of an untrusted user.
    """
    _refuse_url(path)
    try:
        path = Path(os.path.expanduser(path)).absolute()
    except FileNotFoundError as error:
        message = (
            f"the path {os.fspath(path)!r} is relative, and the working directory has been deleted: "
            "give an absolute path"
        )
        raise ConfigurationError(message) from error
    if path.name in ("", ".."):
        return resolved(path)
    return resolved(path.parent) / path.name


def resolved(path: Path) -> Path:
    """Return an absolute path without links.

    As under the kernel's protection of links, a link is followed if this user, root or the owner of
    its directory has created it.

    Raises:
        ConfigurationError: For a path with a link that another user has created.
    """
    for one in (*reversed(path.parents), path):
        try:
            status = os.lstat(one)
            known = {0, os.geteuid()}
            if stat.S_ISLNK(status.st_mode) and status.st_uid not in known:
                known.add(os.stat(one.parent).st_uid)
        except OSError:
            break  # using the path will raise the error
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in known and not others_are_trusted():
            message = (
                f"the path {path} leads through a link that the user with uid {status.st_uid} has made, "
                f"{one}: name the directory that is meant, or set {TRUST_VARIABLE}=true where everybody who "
                "may write there is trusted"
            )
            raise ConfigurationError(message)
    return Path(os.path.realpath(path))


def _refuse_url(path: str | os.PathLike[str]) -> None:
    """Raise an error for a URL, which would otherwise name a local directory such as ``s3:``.

    Raises:
        ConfigurationError: For a text that begins like a URL.
    """
    text = os.fsdecode(path)
    if "://" in text and _url().match(text):
        message = f"{text!r} is a URL: give the path of a directory or file on this machine"
        raise ConfigurationError(message)
