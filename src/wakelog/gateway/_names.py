"""Names of directories and files that stay below their base directory, for any session id."""

from __future__ import annotations

import hashlib
import re
import string
from datetime import UTC, datetime
from uuid import uuid4

from wakelog.errors import ConfigurationError

_LONGEST_PLAIN = 100
_LONGEST_READABLE = 48
# Names that every file system accepts and distinguishes from each other.
_PLAIN = re.compile(r"[a-z0-9_-](?:[a-z0-9._-]*[a-z0-9_-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_LONGEST_COMPONENT = 255


def directory_name(session_id: str) -> str:
    """Return the unique directory name of a session.

    An id of lower-case letters, digits, ``.``, ``_`` and ``-`` is its own name. In other ids, each
    character that is not a letter or digit becomes ``_``, and ``~`` and the id's hash are appended,
    so that no two ids share a name, even on a file system that ignores case.
    """
    if (
        len(session_id) <= _LONGEST_PLAIN
        and _PLAIN.fullmatch(session_id)
        and not _RESERVED.fullmatch(session_id)
    ):
        return session_id
    readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in session_id[:256])
    readable = readable.encode(errors="replace")[:_LONGEST_READABLE].decode(errors="ignore")
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:32]}"


class DirectoryPattern:
    """The pattern of sessions' directories below the base directory.

    Args:
        pattern: A text with ``{session_id}``; ``/`` separates directories.

    Raises:
        ConfigurationError: If sessions would share a directory, or be outside the base directory.
    """

    def __init__(self, pattern: str) -> None:
        _check_fields("session_directory_pattern", pattern, "session_id", required=True)
        example = pattern.format(session_id="x" * (_LONGEST_PLAIN + 1))
        for part in example.split("/"):
            if (wrong := _unusable(part)) is not None:
                raise ConfigurationError(
                    f"session_directory_pattern={pattern!r} is not usable: {wrong}. Use names "
                    "below the base directory, as in 'agents/{session_id}'"
                )
        self.depth = example.count("/") + 1
        self._pattern = pattern

    def path_of(self, session_id: str) -> str:
        """Return a session's directory, relative to the base directory."""
        return self._pattern.format(session_id=directory_name(session_id))


def unknown_session(pattern: str) -> str:
    """Return an id for events that name no session.

    Raises:
        ConfigurationError: If the pattern is empty or has another placeholder than ``{uuid}``.
    """
    _check_fields("unknown_session_pattern", pattern, "uuid", required=False)
    if not pattern:
        raise ConfigurationError(
            "unknown_session_pattern='' is empty: use text, as in 'unknown_{uuid}'"
        )
    return pattern.format(uuid=uuid4())


class FilePattern:
    """The pattern of file names, which are the time of the first event in UTC.

    Args:
        pattern: A ``datetime.strftime`` pattern, with ``%f`` for microseconds.

    Raises:
        ConfigurationError: If the result is not a valid file name.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        name = "" if "\0" in pattern else self.name_at(0.0)
        wrong = "it contains '/'" if "/" in name else _unusable(name)
        if wrong is not None:
            raise ConfigurationError(
                f"file_naming_pattern={pattern!r} is not usable: {wrong}. Use a strftime pattern "
                "for a single name, as in '%Y%m%d_%H%M%S'"
            )

    def name_at(self, seconds: float) -> str:
        """Return the name for a time, without its extension."""
        return datetime.fromtimestamp(seconds, UTC).strftime(self._pattern)


def _check_fields(setting: str, pattern: str, allowed: str, *, required: bool) -> None:
    try:
        fields = [part[1:] for part in string.Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise ConfigurationError(f"{setting}={pattern!r} is not usable: {error}") from None
    if any(field != (allowed, "", None) for field in fields) or (required and not fields):
        only = "has to contain" if required else "may contain only"
        raise ConfigurationError(f"{setting}={pattern!r} is not usable: it {only} {{{allowed}}}")


def _unusable(part: str) -> str | None:
    """Return why a text cannot be the name of a directory or file; None if it can."""
    if not part or part.startswith("."):
        return f"{part!r} is empty or begins with a dot"
    if part.endswith((".", " ")) or _FORBIDDEN.search(part) or _RESERVED.fullmatch(part):
        return f"{part!r} is not a name that every file system accepts"
    if len(part.encode(errors="replace")) > _LONGEST_COMPONENT:
        return "it is too long"
    return None
