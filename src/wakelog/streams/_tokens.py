"""The tokens among a session's messages, and printing messages as they arrive."""

from __future__ import annotations

from typing import Final

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
"""Messages that mark a beginning or an end, and are not text."""

SPECIAL_END_TOKENS: Final = [STREAM_END_TOKEN, REASONING_STOP_TOKEN]
"""The tokens after which a new line is printed."""


def default_stream_handler(message: str) -> str | None:
    """Print a message as it arrives.

    Args:
        message: A text, which is printed, or one of ``SPECIAL_TOKENS``, which is not; after one of
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
