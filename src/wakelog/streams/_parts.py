"""Joining the parts of texts that were too long for one line."""

from __future__ import annotations

from wakelog.streams._lines import Chunk


class Parts:
    """Collects the parts of long texts, which are consecutive in their writer's journal."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[Chunk]] = {}

    @property
    def is_amid(self) -> bool:
        """Whether a text is incomplete."""
        return bool(self._gathered)

    def add(self, chunk: Chunk) -> Chunk | None:
        """Add the next chunk; return a complete chunk, or None while parts are missing.

        A text whose write failed is left out, because it was not accepted, and so is a text whose
        first parts have been deleted.
        """
        before = self._gathered.pop(chunk.writer, [])
        if chunk.parts == 1:
            return chunk
        if chunk.part == 1:
            before = []
        elif len(before) != chunk.part - 1:
            return None
        before.append(chunk)
        if chunk.part < chunk.parts:
            self._gathered[chunk.writer] = before
            return None
        whole = chunk._replace(text="".join(part.text for part in before), part=1, parts=1)
        return whole._replace(timestamp=before[0].timestamp)
