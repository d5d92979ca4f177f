"""The marks that stand among a session's messages, and the entry of a message."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from wakelog.errors import ConfigurationError

REASONING_START_TOKEN: Final = "<think>"  # noqa: S105 - marks, not secrets
REASONING_STOP_TOKEN: Final = "</think>"  # noqa: S105
TOOL_CALL_START_TOKEN: Final = "<tool>"  # noqa: S105
TOOL_CALL_END_TOKEN: Final = "</tool>"  # noqa: S105
STREAM_START_TOKEN: Final = "<start>"  # noqa: S105
STREAM_END_TOKEN: Final = "</end>"  # noqa: S105

SPECIAL_TOKENS: Final = [
    STREAM_START_TOKEN,
    STREAM_END_TOKEN,
    REASONING_START_TOKEN,
    REASONING_STOP_TOKEN,
    TOOL_CALL_START_TOKEN,
    TOOL_CALL_END_TOKEN,
]
"""Messages that mark where something begins or ends, and are no text."""

SPECIAL_END_TOKENS: Final = [STREAM_END_TOKEN, REASONING_STOP_TOKEN]
"""Those of them after which a terminal begins a new line."""

_TYPES = ("chat", "log")


@dataclass(kw_only=True)
class LogEntry:
    """A message of a session.

    Attributes:
        session_id: The session.
        message: The text, or one of ``SPECIAL_TOKENS``.
        timestamp: When, in ISO 8601; now by default.
        log_type: ``chat`` or ``log``.

    Raises:
        ConfigurationError: For a value of another type or another ``log_type``.
    """

    session_id: str = ""
    message: str
    timestamp: str | None = None
    log_type: Literal["chat", "log"] = "chat"

    def __post_init__(self) -> None:
        for name in ("session_id", "message", "timestamp"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name != "timestamp" or value is not None):
                raise ConfigurationError(f"{name}={value!r:.80} is no text")
        if self.log_type not in _TYPES:
            raise ConfigurationError(f"log_type={self.log_type!r} is not known: use chat or log")
        if not self.timestamp:
            self.timestamp = datetime.now(UTC).isoformat()

    def model_dump(self) -> dict[str, Any]:
        """Return the entry as a dict."""
        return asdict(self)

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the entry as JSON."""
        separators = None if indent else (",", ":")
        return json.dumps(asdict(self), indent=indent, ensure_ascii=False, separators=separators)


def default_stream_handler(message: str) -> str | None:
    """Print a message as it comes.

    Args:
        message: A text, which is printed, or one of ``SPECIAL_TOKENS``, which is not: after one of
            ``SPECIAL_END_TOKENS`` a new line begins.

    Returns:
        The text, or None for a token.
    """
    if message in SPECIAL_TOKENS:
        if message in SPECIAL_END_TOKENS:
            print(flush=True)
        return None
    if message:
        print(message, end="", flush=True)
    return message
