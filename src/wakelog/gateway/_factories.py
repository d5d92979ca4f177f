"""Functions that create an ``EventSessionLogger``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from wakelog.errors import ConfigurationError
from wakelog.gateway._logger import EventSessionLogger
from wakelog.gateway._settings import from_environment
from wakelog.gateway.transports import Callback, TransportInterface

_Path = str | os.PathLike[str]


def create_session_logger(
    log_base_dir: _Path | None = None,
    downstream_callback: Callback | None = None,
    **settings: Any,
) -> EventSessionLogger:
    """Create a logger with any arguments of ``EventSessionLogger``."""
    return EventSessionLogger(log_base_dir, downstream_callback, **settings)


def create_logging_only(log_base_dir: _Path | None = None, **settings: Any) -> EventSessionLogger:
    """Create a logger that does not forward."""
    return EventSessionLogger(log_base_dir, None, None, **settings)


def create_with_callback(
    callback: Callback, log_base_dir: _Path | None = None, **settings: Any
) -> EventSessionLogger:
    """Create a logger that forwards to a function."""
    return EventSessionLogger(log_base_dir, callback, **settings)


def create_with_transport(
    transport: TransportInterface, log_base_dir: _Path | None = None, **settings: Any
) -> EventSessionLogger:
    """Create a logger that forwards to a transport."""
    return EventSessionLogger(log_base_dir, downstream_transport=transport, **settings)


def create_from_environment(**overrides: Any) -> EventSessionLogger:
    """Create a logger from the ``AGENT_LOG_*`` variables; arguments take precedence.

    Raises:
        ConfigurationError: If a value cannot be used; the message names the variable.
    """
    return EventSessionLogger(**from_environment(overrides), **overrides)


def create_backward_compatible(**settings: Any) -> EventSessionLogger:
    """Create a logger for code that used an older one, with the same files, names and prompts.

    Args:
        settings: Any argument of ``EventSessionLogger``, whose defaults are those of the older
            logger.
    """
    return EventSessionLogger(**settings)


def migrate_from_session_logger(
    old_session_logger: Any, downstream_callback: Callback | None = None
) -> EventSessionLogger:
    """Create a logger that continues in the directory of an older one, whose files stay unchanged.

    Args:
        old_session_logger: Any object with ``log_file_path``, in its session's directory, and
            ``include_system_prompt``.
        downstream_callback: A function that gets each event.

    Raises:
        ConfigurationError: If the object does not have both.
    """
    wanted = ("log_file_path", "include_system_prompt")
    if missing := [name for name in wanted if not hasattr(old_session_logger, name)]:
        raise ConfigurationError(
            f"{type(old_session_logger).__name__} cannot be migrated: it has no "
            f"{' and no '.join(missing)}"
        )
    return EventSessionLogger(
        Path(old_session_logger.log_file_path).parent.parent,
        downstream_callback,
        include_system_prompt=bool(old_session_logger.include_system_prompt),
    )
