"""Paths that stay what they were when the program changes its working directory, or somebody a link."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from wakelog.errors import ConfigurationError
from wakelog.runtime._opening import TRUST_VARIABLE, others_are_trusted

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def refuse_url(path: str | os.PathLike[str]) -> None:
    """Refuse a URL where a path is wanted: it would name a directory here, such as ``s3:``.

    Raises:
        ConfigurationError: For text that begins as a URL does.
    """
    text = os.fsdecode(path)
    if _URL.match(text):
        message = f"{text!r} is a URL: give the path of a directory or file on this machine"
        raise ConfigurationError(message)


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that means the same after a change of the working directory.

    To be called once, where a path comes in. Links above it are resolved; whether it may be one itself is
    for whoever opens it to decide.

    Raises:
        ConfigurationError: For a URL, for a relative path while the working directory does not exist, and
            for one above which somebody else has planted a link.
    """
    refuse_url(path)
    try:
        path = Path(path).absolute()
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

    As where the kernel protects links, one is followed when this user, root or the owner of the directory
    that it is in has made it.

    Raises:
        ConfigurationError: For a path with a link that somebody else has made.
    """
    for one in (*reversed(path.parents), path):
        try:
            status = os.lstat(one)
            known = {0, os.geteuid()}
            if stat.S_ISLNK(status.st_mode) and status.st_uid not in known:
                known.add(os.stat(one.parent).st_uid)
        except OSError:
            break  # the operating system says why when the path is used
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in known and not others_are_trusted():
            message = (
                f"the path {path} leads through a link that the user with uid {status.st_uid} has made, "
                f"{one}: name the directory that is meant, or set {TRUST_VARIABLE}=true where everybody who "
                "may write there is trusted"
            )
            raise ConfigurationError(message)
    return Path(os.path.realpath(path))
