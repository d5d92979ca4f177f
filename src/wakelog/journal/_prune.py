"""Pruning: deleting old segments of ended writers on request."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakelog.journal._awaiting import AwaitingSigner, is_sealed
from wakelog.journal._deleting import delete_segments
from wakelog.journal._folder import Folder, is_owned, lock_root
from wakelog.journal._inventory import FolderContents, take_inventory
from wakelog.journal._journal import Journal
from wakelog.journal._ledger import load
from wakelog.journal._space import Space
from wakelog.runtime import SYSTEM

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener

_LOCK_SECONDS = 10.0
_REASON = "retention"
_NO_QUOTA = 1 << 62


class Prunable(NamedTuple):
    """The segments of a writer's folder that may be deleted.

    Attributes:
        folder: The folder.
        below: The index of the first segment that stays.
        segments: The number of segments that may be deleted.
        size: Their size in bytes, including blobs.
        undelivered: The number of these segments that have undelivered records.
    """

    folder: Path
    below: int
    segments: int
    size: int
    undelivered: int


def prunable(root: Path, older_than: float, *, undelivered: bool = False) -> list[Prunable]:
    """Find the segments of ended writers that are older than an age, oldest writer first.

    The processes of live writers clean up themselves.

    Args:
        root: The journal's directory.
        older_than: Seconds since the last record of a segment.
        undelivered: Whether to include segments with undelivered records.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    found = (
        _prunable(one, older_than, undelivered=undelivered)
        for one in take_inventory(root).folders
        if is_owned(one.path) is False
    )
    return [one for one in found if one is not None]


def prune(
    root: Path,
    older_than: float,
    *,
    undelivered: bool = False,
    listener: SegmentListener | None = None,
) -> list[Prunable]:
    """Delete the segments that ``prunable`` finds; undelivered records count as evicted.

    Without a listener, sealed segments are kept.

    Args:
        root: The journal's directory.
        older_than: Seconds since the last record of a segment.
        undelivered: Whether to include segments with undelivered records.
        listener: Called before segments are deleted.

    Returns:
        The deleted segments.

    Raises:
        JournalError: When a file operation fails.
    """
    deleted: list[Prunable] = []
    lock = lock_root(root, _LOCK_SECONDS, purpose="clean up")
    if lock is None:
        return []  # another process is cleaning
    try:
        for one in prunable(root, older_than, undelivered=undelivered):
            if listener is None and is_sealed(one.folder):
                continue  # without a key, the deletion cannot be signed
            if (folder := Folder.adopt(one.folder)) is None:
                continue  # another process has begun to deliver it
            try:
                reason = _REASON if one.undelivered else None
                delete_segments(one.folder, one.below, SYSTEM, reason, listener)
            finally:
                folder.release()
            deleted.append(one)
    finally:
        lock.release()
    # The usual cleaning then deletes the empty folders.
    space = Space(retention_age=older_than, retention_writers=None, quota_bytes=_NO_QUOTA)
    listener = listener or AwaitingSigner(always=False, asks=False)
    journal = Journal(root, space=space, listener=listener)
    try:
        journal.clean_up()
    finally:
        journal.close()
    return deleted


def _prunable(found: FolderContents, older_than: float, *, undelivered: bool) -> Prunable | None:
    if not found.segments:
        return None
    mark = load(found.path, found.path.name)
    kept_from = mark.segment
    if not found.has_pending(mark.segment, mark.offset):
        kept_from = max(kept_from, found.segments[-1].index + 1)
    before = time.time() - older_than
    going = []
    for segment in found.segments:
        if segment.changed > before or (segment.index >= kept_from and not undelivered):
            break
        going.append(segment)
    if not going:
        return None
    return Prunable(
        found.path,
        going[-1].index + 1,
        len(going),
        sum(segment.size for segment in going),
        sum(segment.index >= kept_from for segment in going),
    )
