"""Whether anybody delivers from a directory, or what is recorded there stays there."""

from __future__ import annotations

from pathlib import Path

from wakelog.journal import _swept as swept
from wakelog.journal._claim import CLAIM
from wakelog.journal._folder import folders
from wakelog.journal._ledger import NAME as LEDGER
from wakelog.runtime import regular_file


def is_kept_here(root: Path) -> bool:
    """Tell whether nobody delivers from a directory, nor has delivered what is in it.

    Whoever delivers claims a writer's folder first, and then writes its ledger.

    Args:
        root: The journal's directory.

    Returns:
        Whether no folder in it has been claimed or has a ledger, and none that had was deleted.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    return not swept.load(root).delivered and not any(
        regular_file(folder / CLAIM) or regular_file(folder / LEDGER) for folder in folders(root)
    )
