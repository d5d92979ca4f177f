"""The folder of a journal's index: in this user's journal, or else in the user's cache."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from wakelog.runtime import SYSTEM, make_directories
from wakelog.storage import INDEX

FILE: Final = "index.sqlite"
_MODE: Final = 0o700


def place_of(root: Path) -> Path | None:
    """Return the folder for a journal's index, created if necessary; None if there can be none.

    Nothing is created in the journal of another user, for example by root, because its owner could
    not use it.

    Args:
        root: The journal's directory.
    """
    try:
        status = root.stat()
    except OSError:
        return None
    user = os.geteuid()
    if status.st_uid == user and (found := _made(root / INDEX, user)) is not None:
        return found
    cache = _cache()
    if cache is None:
        return None
    identity = f"{root}\0{status.st_dev}\0{status.st_ino}"
    return _made(cache / sha256(os.fsencode(identity)).hexdigest()[:32], user)


def _cache() -> Path | None:
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
        folder = base / "wakelog" / "index"
        make_directories(folder)
    except (OSError, RuntimeError):
        return None  # the user has no home directory, or it is not writable
    return folder


def _made(folder: Path, user: int) -> Path | None:
    """Return a folder that belongs to this user and is not a symbolic link."""
    try:
        SYSTEM.mkdir(folder, _MODE)
    except FileExistsError:
        pass
    except OSError:
        return None
    try:
        status = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == user
    return folder if is_ours and os.access(folder, os.W_OK | os.X_OK) else None
