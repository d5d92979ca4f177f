"""Ways to make an ``EventSessionLogger``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wakelog.errors import ConfigurationError
from wakelog.gateway._logger import EventSessionLogger
from wakelog.gateway._settings import from_environment
from wakelog.gateway.transports import TransportInterface
from wakelog.gateway.transports._local import Callback

_Path = str | os.PathLike[str]


def create_session_logger(
    log_base_dir: _Path | None = None,
    downstream_callback: Callback | None = None,
    downstream_transport: TransportInterface | None = None,
    **settings: Any,
) -> EventSessionLogger:
    """Make a logger; every argument of ``EventSessionLogger`` is taken."""
    return EventSessionLogger(log_base_dir, downstream_callback, downstream_transport, **settings)


def create_logging_only(log_base_dir: _Path | None = None, **settings: Any) -> EventSessionLogger:
    """Make a logger that forwards nowhere."""
    return EventSessionLogger(log_base_dir, **settings)


def create_with_callback(
    downstream_callback: Callback, log_base_dir: _Path | None = None, **settings: Any
) -> EventSessionLogger:
    """Make a logger that forwards to a function."""
    return EventSessionLogger(log_base_dir, downstream_callback, **settings)


def create_with_transport(
    downstream_transport: TransportInterface, log_base_dir: _Path | None = None, **settings: Any
) -> EventSessionLogger:
    """Make a logger that forwards to a transport."""
    return EventSessionLogger(log_base_dir, None, downstream_transport, **settings)


def create_from_environment(**overrides: Any) -> EventSessionLogger:
    """Make a logger of what ``AGENT_LOG_*`` says, and of what is given, which beats it.

    Raises:
        ConfigurationError: For a value that cannot be used, with the variable's name.
    """
    return EventSessionLogger(**from_environment(overrides), **overrides)


def create_backward_compatible(
    log_file_path: _Path | None = None,
    include_system_prompt: bool = True,  # noqa: FBT001, FBT002 - as the old loggers take it
    downstream_callback: Callback | None = None,
    **settings: Any,
) -> EventSessionLogger:
    """Make a logger for code that names a file: its sessions are beside that file.

    Args:
        log_file_path: The file that the old logger wrote, or its directory.
        include_system_prompt: Whether system prompts are logged.
        downstream_callback: A function that gets each event.
        settings: As ``EventSessionLogger`` takes them.
    """
    base: Path | None = None
    if log_file_path is not None:
        base = Path(log_file_path)
        if base.suffix and not base.is_dir():
            base = base.parent
    return EventSessionLogger(base, downstream_callback, None, include_system_prompt, **settings)


def migrate_from_session_logger(
    old: Any, downstream_callback: Callback | None = None
) -> EventSessionLogger:
    """Make a logger that goes on where an older one has written. Old files stay as they are.

    Args:
        old: Any object with ``log_file_path`` and ``include_system_prompt``.
        downstream_callback: A function that gets each event.

    Raises:
        ConfigurationError: When the object has neither.
    """
    missing = [n for n in ("log_file_path", "include_system_prompt") if not hasattr(old, n)]
    if missing:
        raise ConfigurationError(
            f"{type(old).__name__} cannot be migrated: it has no {' and no '.join(missing)}"
        )
    return create_backward_compatible(
        old.log_file_path, bool(old.include_system_prompt), downstream_callback
    )
