"""What others may do at the turning points of a journal's files: evidence, above all."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class SegmentListener(Protocol):
    """Is told when segments begin, when a writer ends and before segments are deleted."""

    def segment_begun(self) -> None:
        """Learn that a write has begun another segment. In the thread that records: return at once."""
        ...

    def writer_ended(self, folder: Path) -> None:
        """Learn that a writer writes no more. Its folder is still this process's own.

        Args:
            folder: The writer's folder.
        """
        ...

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Learn that segments of a folder are about to be deleted, and say how far they may be.

        Args:
            folder: The writer's folder, owned.
            below: The index of the first segment that stays.
            reason: Why.

        Returns:
            The index of the first segment that has to stay for now: that, or a smaller one, because
            somebody else has to agree first.

        Raises:
            JournalError: When it went wrong to find that out. They stay then, too.
        """
        ...
