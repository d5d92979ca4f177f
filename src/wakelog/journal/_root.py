"""The directory of a journal: its default location, and the marker file with its format."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from wakelog.errors import ConfigurationError, JournalError, JournalFormatError
from wakelog.record import FORMAT
from wakelog.runtime import (
    FileSystem,
    check_directory,
    make_directories,
    others_are_trusted,
    read_small,
    regular_file,
)

_MARKER = "wakelog.json"
_HINT = "Choose another directory with directory= or WAKELOG_DIR"


def default_root(service_name: str) -> Path:
    """Return the default directory of a service's journal, in the user's state directory.

    Args:
        service_name: The service's name; characters that a file name cannot have become ``_``. What
            OpenTelemetry appends to ``unknown_service`` is removed, so that a program without a
            service name and the command line use the same directory.

    Returns:
        ``$XDG_STATE_HOME/wakelog/<service>``, with ``~/.local/state`` if that is unset (XDG
        Base Directory specification).

    Raises:
        ConfigurationError: When there is no home directory either.
    """
    state = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(state) if Path(state).is_absolute() else _home() / ".local" / "state"
    if service_name.startswith("unknown_service:"):
        service_name = "unknown_service"
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in service_name).lstrip(".")
    return base / "wakelog" / (name or "unknown_service")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # a container with a uid that has no passwd entry, and no HOME
        message = (
            "there is no home directory to keep the journal in: HOME is not set, and uid "
            f"{os.getuid()} has no passwd entry. Set WAKELOG_DIR, or XDG_STATE_HOME, to a directory "
            "that this user may write to"
        )
        raise ConfigurationError(message) from error


def make_parent_of(root: Path) -> None:
    """Create the parent of a default directory whose own name is not known yet.

    Raises:
        JournalError: When it cannot be created or written.
        ConfigurationError: When ``WAKELOG_TRUST_DIRECTORY`` is neither true nor false.
    """
    others_are_trusted()
    parent = root.parent
    try:
        make_directories(parent)
    except (FileExistsError, NotADirectoryError) as error:
        raise JournalError("use", parent, "a part of the path is a file", _HINT) from error
    except OSError as error:
        raise JournalError("write to", parent, error, _HINT) from error
    if not os.access(parent, os.W_OK | os.X_OK):
        raise JournalError("write to", parent, "permission denied", _HINT)


def prepare(root: Path, fs: FileSystem) -> None:
    """Create a journal's directory and its marker, which keeps older releases out."""
    marker = root / _MARKER
    try:
        made = make_directories(root)
        check_directory(root)
        version = _format_of(marker) if regular_file(marker) else 0
        if version < FORMAT:
            # All processes write the same marker, so writing it twice is harmless.
            says = orjson.dumps({"wakelog": "journal", "format": FORMAT})
            fs.write_whole(marker, says, synced=True)
            for directory in (root, root.parent, *(path.parent for path in made[1:])):
                fs.sync_directory(directory)
            version = _format_of(marker)
    except FileExistsError as error:
        raise JournalError("use", root, "it is a file and not a directory", _HINT) from error
    except NotADirectoryError as error:
        raise JournalError("use", root, "a part of the path is a file", _HINT) from error
    except OSError as error:
        raise JournalError("write to", root, error, _HINT) from error
    except ConfigurationError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise JournalFormatError(
            "use", marker, "it does not say a journal's format", f"Remove the file, or: {_HINT}"
        ) from error
    if version > FORMAT:
        raise JournalFormatError(
            "use",
            root,
            f"its format is {version}, and this Wakelog knows {FORMAT}",
            f"Install the newer Wakelog, or: {_HINT}",
        )
    if not os.access(root, os.W_OK | os.X_OK):
        raise JournalError("write to", root, "permission denied", _HINT)


def _format_of(marker: Path) -> int:
    version = orjson.loads(read_small(marker))["format"]
    if type(version) is not int or version < 1:
        message = f"{version!r} is not a format number"
        raise ValueError(message)
    return version
