"""Whether any process delivers from a directory, or its records only stay there."""

from __future__ import annotations

from pathlib import Path

from wakelog.journal import _retired_totals as retired
from wakelog.journal._delivery_lock import DELIVERY_LOCK
from wakelog.journal._folder import folders
from wakelog.journal._ledger import NAME as LEDGER
from wakelog.runtime import regular_file


def is_kept_here(root: Path) -> bool:
    """Return whether no process delivers, or has ever delivered, from a directory.

    A process that delivers takes a writer's delivery lock first, and then writes its ledger.

    Args:
        root: The journal's directory.

    Returns:
        Whether no folder has a delivery lock or a ledger, and no deleted folder had delivered
        records.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    return not retired.load(root).counts.delivered and not any(
        regular_file(folder / DELIVERY_LOCK) or regular_file(folder / LEDGER)
        for folder in folders(root)
    )
