"""The interface by which evidence follows the segments of a journal."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class SegmentListener(Protocol):
    """Is called when a segment begins, when a writer ends, and before segments are deleted."""

    def segment_begun(self) -> None:
        """Handle the begin of a segment, in the recording thread: it has to return at once."""
        ...

    def writer_ended(self, folder: Path) -> None:
        """Handle the end of a writer, whose folder this process still owns.

        Args:
            folder: The writer's folder.
        """
        ...

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Return how far segments of a folder may be deleted.

        Args:
            folder: The writer's folder, which this process owns.
            below: The index of the first segment that stays.
            reason: The reason for the deletion.

        Returns:
            The index of the first segment that has to stay for now: ``below``, or less if another
            process has to sign for the deletion first.

        Raises:
            JournalError: When that cannot be determined. Then all segments stay.
        """
        ...
