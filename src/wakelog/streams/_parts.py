"""Putting texts together again that were too long for one line."""

from __future__ import annotations

from wakelog.streams._lines import Chunk


class Parts:
    """Gathers the parts of long texts, which stand together in the journal of their writer."""

    def __init__(self) -> None:
        self._gathered: dict[str, list[Chunk]] = {}

    @property
    def is_amid(self) -> bool:
        """Whether a text has begun and not ended."""
        return bool(self._gathered)

    def add(self, chunk: Chunk) -> Chunk | None:
        """Take the next chunk, and return it whole, or None while parts are missing.

        A text whose write failed midway is left out, as it was never accepted, and so is one whose
        beginning has been deleted.
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
