"""``Stream``: a message that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from wakelog.errors import SinkError, WakelogError
from wakelog.streams._lines import MAX_LINE_BYTES, identity_of

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams


class Stream:
    """A message that is being written; ``SessionStreams.stream`` returns it.

    As a context manager it ends the stream: with ``success``, with ``error`` if an exception leaves
    the block, or with ``interrupted`` if the task is cancelled or the program stopped.

    Attributes:
        session_id: The session.
        stream_id: The stream's id.
        identity: What its lines of text have in common, for ``text_line``.
    """

    def __init__(self, streams: SessionStreams, session_id: str, stream_id: str) -> None:
        self.session_id = session_id
        self.stream_id = stream_id
        self.identity = identity_of(session_id, stream_id)
        self._streams = streams
        self._chunks = 0
        self._parts: list[str] = []
        self._chars = 0
        self._reasons = False
        self._reasoning: list[str] = []
        self._ended = False

    def write(self, text: str) -> None:
        """Write the next piece of the message, which readers receive at once.

        Raises:
            SinkError: If it was not recorded, or the stream has ended.
        """
        self._check()
        self._streams._write_text(self.session_id, text, self)  # noqa: SLF001 - its other half
        self._chunks += 1
        if self._streams.log is not None and self._chars < MAX_LINE_BYTES:
            self._chars += len(text)
            (self._reasoning if self._reasons else self._parts).append(text)

    def reasoning(self, *, begins: bool) -> None:
        """Note that the model begins or stops reasoning. The text in between is its reasoning.

        Raises:
            SinkError: If it was not recorded, or the stream has ended.
        """
        self._check()
        kind = "reasoning_start" if begins else "reasoning_stop"
        self._streams._write_event(kind, self.session_id, self.stream_id)  # noqa: SLF001
        self._reasons = begins

    def end(self, status: str = "success", reason: str | None = None) -> None:
        """End the stream, and emit the joined message. A second call does nothing.

        Args:
            status: The result: ``success``, ``error``, ``interrupted`` or the caller's own word.
            reason: The reason as a short word, such as ``stop`` or ``length``.

        Raises:
            SinkError: If it was not recorded.
        """
        if self._ended:
            return
        self._streams._write_event(  # noqa: SLF001
            "end", self.session_id, self.stream_id, status, chunks=self._chunks, reason=reason
        )
        self._ended = True
        self._streams._ended(self, status, reason)  # noqa: SLF001

    def joined(self) -> dict[str, object]:
        """Return the message so far, as the payload of an event."""
        payload: dict[str, object] = {"stream_id": self.stream_id, "chunks": self._chunks}
        if self._parts:
            payload["message"] = "".join(self._parts)
        if self._reasoning:
            payload["reasoning"] = "".join(self._reasoning)
        return payload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None:
            self.end()
            return
        try:
            # Cancelling a task or stopping the program is not an error.
            self.end("error" if issubclass(kind, Exception) else "interrupted", kind.__name__)
        except WakelogError as failure:
            if isinstance(error, BaseException):
                error.add_note(f"and the end of the stream was not recorded: {failure}")

    def _check(self) -> None:
        if self._ended:
            message = (
                f"the stream {self.stream_id} of session {self.session_id!r} has ended. Open another "
                "with SessionStreams.stream()"
            )
            raise SinkError(message)
