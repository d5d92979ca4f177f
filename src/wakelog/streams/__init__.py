"""Session streams: watch a session live while it is recorded.

``SessionStreams`` writes the text of a session to a journal, which any number of readers can
follow; ``Logger`` offers the same with the interface of an earlier session logger; ``sse`` and
``StreamsApp`` serve it to web pages.
"""

from wakelog.streams._entry import LogEntry
from wakelog.streams._lines import Chunk
from wakelog.streams._logger import DEFAULT_LOGS_DIR, Logger, _logger
from wakelog.streams._reader import Reader
from wakelog.streams._sse import StreamsApp, sse
from wakelog.streams._stream import Stream
from wakelog.streams._streams import SessionStreams
from wakelog.streams._tokens import (
    REASONING_START_TOKEN,
    REASONING_STOP_TOKEN,
    SPECIAL_END_TOKENS,
    SPECIAL_TOKENS,
    STREAM_END_TOKEN,
    STREAM_START_TOKEN,
    TOOL_CALL_END_TOKEN,
    TOOL_CALL_START_TOKEN,
    default_stream_handler,
)

__all__ = [
    "DEFAULT_LOGS_DIR",
    "REASONING_START_TOKEN",
    "REASONING_STOP_TOKEN",
    "SPECIAL_END_TOKENS",
    "SPECIAL_TOKENS",
    "STREAM_END_TOKEN",
    "STREAM_START_TOKEN",
    "TOOL_CALL_END_TOKEN",
    "TOOL_CALL_START_TOKEN",
    "Chunk",
    "LogEntry",
    "Logger",
    "Reader",
    "SessionStreams",
    "Stream",
    "StreamsApp",
    "_logger",
    "default_stream_handler",
    "sse",
]
